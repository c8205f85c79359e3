"""Operators of other domains are added, imported and kept, whatever ONNX's own operator of the same name does."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from jax import lax
from jax.extend.core import Primitive

from j2o_core import Plugin, PluginError, testing
from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.graph._values import stamp
from j2o_core.legalize._composed import COMPOSED
from j2o_core.legalize._detours import USES
from j2o_core.target import WORKAROUNDS, Target
from j2o_core.testing._legalized import legalize_model

OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})

foreign_p = Primitive("foreign")
foreign_p.def_impl(lambda x: np.tanh(x))
foreign_p.def_abstract_eval(lambda x: x)


def foreign(x):
    return foreign_p.bind(x)


def names(program):
    return [(node.domain, node.op_type) for node in program.model.graph]


@pytest.fixture
def op():
    graph = ir.Graph([], [], nodes=[])
    return Builder(Constants(), Target(None, 21), append=graph.append)


@pytest.fixture
def x():
    value = ir.Value(name="x")
    stamp(value, np.float32, (1, 3))
    return value


def test_the_builder_keeps_every_operator_of_another_domain(op, x):
    numbers = op.const([1, 3], np.int64)
    for op_type in OPERATORS:
        node = op(f"my.domain::{op_type}", x, numbers, to=1, axis=0, perm=(0, 1)).producer()
        assert (node.domain, node.outputs[0].dtype, node.outputs[0].shape) == ("my.domain", None, None), op_type
        of_constants = op(f"my.domain::{op_type}", numbers, numbers, to=1, axis=0)
        assert of_constants.producer().domain == "my.domain", op_type


@pytest.mark.parametrize("op_type", ["Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Not", "Neg"])
def test_nothing_merges_with_an_operator_of_another_domain(op, x, op_type):
    value = op(f"my.domain::{op_type}", x, to=7, perm=(1, 0))
    stamp(value, np.float32, (3, 1))
    for after in (
        op.Cast(value, to=ir.DataType.INT64),
        op.Transpose(value, perm=(1, 0)),
        op.Reshape(value, op.const([1, 3], np.int64)),
        op.Squeeze(value, op.const([1], np.int64)),
        op.Unsqueeze(value, op.const([0], np.int64)),
        op.Gather(value, op.const(0, np.int64), axis=0),
        op.Neg(value),
    ):
        assert after.producer().inputs[0] is value


def test_a_model_imports_the_opsets_of_its_domains(plugin, export):
    plugin.lowering(foreign_p)(lambda ctx, x: ctx.op("my.domain::Sin", x, scale=2.0))
    plugin.opset_import("my.domain", 3)
    program = export(lambda x: jnp.sin(foreign(x)), [(3,)])
    assert names(program) == [("my.domain", "Sin"), ("", "Sin")]
    assert dict(program.model.graph.opset_imports) == {"": 21, "my.domain": 3}
    program.check()
    assert "my.domain::Sin" in program.report()
    testing.expect_graph(program, "x:f32[3] -> my.domain::Sin -> Sin -> output")


def test_without_a_statement_the_opset_is_the_first_in_nested_graphs_too(plugin, export):
    plugin.lowering(foreign_p)(lambda ctx, x: ctx.op("my.domain::Sin", x))
    program = export(lambda x, c: lax.cond(c, foreign, lambda x: x, x), [(3,), jax.ShapeDtypeStruct((), bool)])
    assert program.model.graph.opset_imports["my.domain"] == 1
    assert [node.op_type for node in program.model.graph.all_nodes() if node.domain] == ["Sin"]
    program.check()


def test_an_operator_of_the_runtime_runs(plugin, check):
    gelu_p = Primitive("my_gelu")
    gelu_p.def_impl(lambda x: jax.nn.gelu(x, approximate=False))
    gelu_p.def_abstract_eval(lambda x: x)
    plugin.lowering(gelu_p)(lambda ctx, x: ctx.op("com.microsoft::Gelu", x))
    # JAX runs such a primitive eagerly only.
    from jax.interpreters import mlir

    mlir.register_lowering(gelu_p, mlir.lower_fun(lambda x: jax.nn.gelu(x, approximate=False), multiple_results=False))
    check(lambda x: gelu_p.bind(x) + 1, testing.Spec((4, 5)), contains=["com.microsoft::Gelu"], absent=["Gelu"])


def test_what_lies_inside_a_rule_has_its_dtype_stated(plugin, export):
    @plugin.lowering(foreign_p)
    def _foreign(ctx, x):
        flags = ctx.shaped(ctx.op("my.domain::Sign", x), ctx.avals_in[0].shape, np.bool_)
        return ctx.op.Where(ctx.op.Not(flags), x, ctx.const(0, x))

    program = export(foreign, [(3,)])
    sign = program.model.graph[0].outputs[0]
    assert (sign.dtype, list(sign.shape)) == (ir.DataType.BOOL, [3])
    program.check()


def test_rewrites_ask_for_them_by_their_whole_names(plugin, export):
    plugin.lowering(foreign_p)(lambda ctx, x: ctx.op("my.domain::Neg", x))

    @plugin.rewrite("Neg")
    def _standard(rw, node):
        raise AssertionError("asked for an operator of another domain")

    @plugin.rewrite("my.domain::Neg")
    def _mine(rw, node):
        inner = rw.producer(node.inputs[0], "my.domain::Neg")
        return inner.inputs[0] if inner is not None else None

    assert names(export(lambda x: foreign(foreign(foreign(x))), [(3,)])) == [("my.domain", "Neg")]


def test_a_rewrite_need_not_state_the_dtype_of_what_it_returns(plugin, export):
    @plugin.rewrite("Sin")
    def _wave(rw, node):
        return rw.op("my.domain::Wave", node.inputs[0])

    program = export(lambda x: jnp.exp(jnp.sin(x)), [("B", 3)])
    assert names(program) == [("my.domain", "Wave"), ("", "Exp")]
    wave = program.model.graph[0].outputs[0]
    assert (wave.dtype, str(wave.shape)) == (ir.DataType.FLOAT, "[B,3]")
    program.check()


def test_a_domain_is_no_attribute(op, x):
    with pytest.raises(TypeError, match=r'written op\("my\.domain::Sin"'):
        op.Sin(x, domain="my.domain")


def test_two_opsets_of_one_domain_are_refused(plugin):
    plugin.opset_import("my.domain", 1)
    with pytest.raises(PluginError, match="two opsets"):
        plugin.opset_import("my.domain", 2)


def test_two_plugins_with_other_opsets_of_one_domain_are_refused(plugin, export):
    other = Plugin("other")
    plugin.opset_import("my.domain", 1)
    other.opset_import("my.domain", 2)
    with pytest.raises(PluginError, match=r"opset 2 of 'my\.domain'"):
        export(jnp.sin, [(3,)], plugins=[plugin, other])


WORKED_AROUND = {op_type for row in WORKAROUNDS for op_type in row.op_types}


@pytest.mark.parametrize("op_type", sorted({*COMPOSED, *WORKED_AROUND, *USES, "Not", "Cast", "Identity", "Constant"}))
def test_legalize_looks_through_no_operator_of_another_domain(op_type):
    """In float16 and int8, between operators that are worked around."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT16), shape=ir.Shape([2, 3]))
    nodes, last = [], x
    for name in ("Neg", op_type, "Relu", "Max", op_type, "Sign", "Round", op_type, "Mul", op_type, "Div"):
        domain = "my.domain" if name == op_type else ""
        operands = [last, x] if name in ("Max", "Mul", "Div") else [last]
        nodes.append(ir.Node(domain, name, operands, num_outputs=1))
        last = nodes[-1].outputs[0]
        last.name, last.type, last.shape = f"v{len(nodes)}", x.type, x.shape
    kept = [node for node in nodes if node.domain]
    graph = ir.Graph([x], [last], nodes=nodes, opset_imports={"": 21, "my.domain": 1}, name="main")
    model = ir.Model(graph, ir_version=10)
    legalize_model(model, Target("onnxruntime", 21))
    left = [node for node in model.graph if node.domain == "my.domain"]
    assert left == kept
    assert {node.op_type for node in left} <= {op_type}
