import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive

from j2o_core import UnsupportedError
from j2o_core.testing import Spec, expect_graph

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def operators(program):
    return [node.op_type for node in program.model.graph]


def test_outputs_that_are_inputs_constants_or_given_twice(check):
    weight = jnp.arange(3.0)

    def fn(x, y):
        z = x + 1
        return x, z, z, weight, weight, y, x, 5

    program = check(fn, X, X * 2, opsets=[21])
    names = [*program.input_names, *program.output_names]
    assert len(set(names)) == len(names)
    for got, want in zip(program(X, X * 2), fn(X, X * 2), strict=True):
        np.testing.assert_array_equal(got, want)


def test_no_computation_at_all(check):
    check(lambda x: x, Spec(("B",), np.int32))
    check(lambda: jnp.arange(3), opsets=[21])


def test_dtypes_and_shapes_of_all_values_are_those_of_jax(check):
    program = check(lambda x: (x.astype(jnp.float16) + 1).reshape(3, 2).T, X, opsets=[21])
    shapes = [
        (node.op_type, value.dtype.name, list(value.shape)) for node in program.model.graph for value in node.outputs
    ]
    assert ("Cast", "FLOAT16", [2, 3]) in shapes
    assert shapes[-1] == ("Transpose", "FLOAT16", [2, 3])


def test_equal_nodes_are_one(check):
    program = check(lambda x: jnp.sin(x) * jnp.sin(x) + jnp.sin(x), X, opsets=[21])
    assert operators(program) == ["Sin", "Mul", "Add"]


def test_nodes_carry_the_user_s_line(export):
    program = export(lambda x: jnp.sin(x), [(3,)])
    (node,) = program.model.graph
    assert node.metadata_props["j2o.source"].startswith("test_lower.py:")


def test_lower_fun_in_a_rule(plugin, export):
    program = export(jax.lax.erf, [("B", 3)])
    expect_graph(
        program,
        """
        x:f32[B,3] -> Sin -> Mul(2) -> Add(x) -> output
        """,
    )


def test_branches_read_outer_values_and_constants(check):
    weight = jnp.arange(3.0)

    def fn(flag, x):
        y = jnp.sin(x)
        return jax.lax.cond(flag, lambda: (y + weight, x), lambda: (y * weight, y))

    for flag in (True, False):
        check(fn, np.asarray(flag), X, opsets=[18, 21])


def test_nested_branches(check):
    def fn(one, two, x):
        return jax.lax.cond(
            one,
            lambda: jax.lax.cond(two, lambda: jnp.sin(x) + 1, lambda: jnp.cos(x) + 1),
            lambda: x,
        )

    for one in (True, False):
        for two in (True, False):
            check(fn, np.asarray(one), np.asarray(two), X, opsets=[21])


def test_a_value_first_made_in_a_branch_is_made_again_outside(check):
    """Sharing looks outwards, never into a branch."""

    def fn(flag, x):
        inside = jax.lax.cond(flag, lambda: jnp.sin(x) + 1, lambda: x)
        return inside * jnp.sin(x)

    for flag in (True, False):
        check(fn, np.asarray(flag), X, opsets=[21])


def test_the_newest_rule_that_is_not_above_the_opset_wins(plugin, export):
    plugin.lowering("sin", opset=20)(lambda ctx, x, **_: ctx.op.Cos(x))
    plugin.lowering("sin", opset=23)(lambda ctx, x, **_: ctx.op.Tan(x))
    assert [operators(export(jnp.sin, [(3,)], opset=opset))[0] for opset in (18, 19, 20, 22, 23, 26)] == [
        "Sin",
        "Sin",
        "Cos",
        "Cos",
        "Tan",
        "Tan",
    ]


@pytest.mark.parametrize(
    ("opset", "ir_version"), [(18, 10), (21, 10), (22, 10), (23, 11), (24, 12), (25, 13), (26, 13)]
)
def test_opset_and_ir_version(export, opset, ir_version):
    model = export(jnp.sin, [(3,)], opset=opset).model
    assert (model.opset_imports, model.ir_version) == ({"": opset}, ir_version)


def test_params_and_avals_are_in_the_context(plugin, export):
    seen = {}

    @plugin.lowering("cumsum")
    def _cumsum(ctx, x, *, axis, reverse):
        seen.update(opset=ctx.opset, params=ctx.params, avals=(ctx.avals_in[0].shape, ctx.avals_out[0].dtype))
        return ctx.op.CumSum(x, ctx.const(axis, np.int64), reverse=int(reverse))

    export(lambda x: jnp.cumsum(x, 1), [(2, 3)], opset=22)
    assert seen == {"opset": 22, "params": {"axis": 1, "reverse": False}, "avals": ((2, 3), np.float32)}


def test_a_token_is_no_value(export, plugin):
    primitive = Primitive("library_with_token")
    primitive.multiple_results = True
    token = jax.typeof(lax.create_token())
    primitive.def_abstract_eval(lambda x: [x, token])
    plugin.lowering("library_with_token")(lambda ctx, x: [ctx.op.Neg(x), x])
    with pytest.raises(UnsupportedError, match="a type that ONNX does not have"):
        export(lambda x: primitive.bind(x)[0], [(3,)])
