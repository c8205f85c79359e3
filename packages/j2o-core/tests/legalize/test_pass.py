"""The walk: what is left alone, what is passed on, and what an error says."""

from __future__ import annotations

import re

import jax
import numpy as np
import onnx_ir as ir
import pytest
from jax import lax

from j2o_core import LegalizeError
from j2o_core.testing import Spec


def typed(node: ir.Node, like: ir.Value, dtype: ir.DataType | None = None) -> ir.Value:
    for out in node.outputs:
        out.type, out.shape = ir.TensorType(dtype or like.dtype), like.shape
    return node.outputs[0]


def feed(name: str, dtype: ir.DataType, shape=(3,)) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def operators(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph]


def test_legal_graphs_are_not_touched(kit):
    x = feed("x", ir.DataType.FLOAT)
    nodes = [ir.node("Add", [x, x], name="a")]
    nodes.append(ir.node("Exp", nodes[0].outputs, name="b"))
    for node in nodes:
        typed(node, x)
    model = kit.model_of([x], nodes, nodes[-1].outputs, 21)
    kit.legalize(model)
    assert list(model.graph) == nodes
    assert [node.inputs for node in nodes] == [(x, x), nodes[0].outputs]


def test_outputs_keep_their_names_and_nodes_their_metadata(kit):
    x, z = feed("x", ir.DataType.UINT16), feed("z", ir.DataType.UINT16)
    node = ir.node("Max", [x, z], metadata_props={"j2o.source": "model.py:19 in forward"})
    node.outputs[0].name = "activations"
    typed(node, x)
    after = ir.node("Identity", node.outputs)
    typed(after, x)
    after.outputs[0].name = "y"
    model = kit.model_of([x, z], [node, after], [node.outputs[0], after.outputs[0]], 21)
    kit.legalize(model)
    assert operators(model.graph) == ["Cast", "Cast", "Max", "Cast", "Identity"]
    assert [out.name for out in model.graph.outputs] == ["activations", "y"]
    assert model.graph.outputs[0].dtype == ir.DataType.UINT16
    for n in list(model.graph)[:4]:
        assert n.metadata_props == {"j2o.source": "model.py:19 in forward"}
    names = [out.name for n in model.graph for out in n.outputs]
    assert len(set(names)) == len(names)
    wide = model.graph[2].outputs[0]
    assert wide.dtype == ir.DataType.INT32
    assert wide.shape == x.shape


def test_names_in_the_model_are_not_taken_twice(kit):
    x, taken = feed("x", ir.DataType.UINT16), feed("Max_0/Cast", ir.DataType.UINT16)
    node = ir.node("Max", [x, taken], name="Max_0")
    typed(node, x)
    model = kit.model_of([x, taken], [node], node.outputs, 21)
    kit.legalize(model)
    values = [v.name for v in model.graph.inputs] + [out.name for n in model.graph for out in n.outputs]
    assert len(set(values)) == len(values)
    nodes = [n.name for n in model.graph]
    assert len(set(nodes)) == len(nodes)


def chain(kit, dtype: ir.DataType, *op_types: str) -> ir.Model:
    """Operators of `x` one after another, those of two operands with `z`."""
    x, z = feed("x", dtype), feed("z", dtype)
    value, nodes = x, []
    for op_type in op_types:
        two = op_type in ("Max", "Min", "Add", "Mul")
        nodes.append(ir.node(op_type, [value, z] if two else [value]))
        value = typed(nodes[-1], x)
    value.name = "y"
    return kit.model_of([x, z], nodes, [value], 21)


def test_exact_wide_values_are_passed_on(kit):
    """Max of uint16 values is one: nothing between the two needs a cast."""
    model = chain(kit, ir.DataType.UINT16, "Max", "Min", "Max")
    kit.legalize(model)
    assert operators(model.graph) == ["Cast", "Cast", "Max", "Min", "Max", "Cast"]


def test_rounding_between_operators_is_kept(kit):
    """JAX rounds to bfloat16 after each operator; going on in float32 would be another program."""
    model = chain(kit, ir.DataType.BFLOAT16, "Add", "Exp")
    kit.legalize(model)
    assert operators(model.graph) == ["Cast", "Cast", "Add", "Cast", "Cast", "Exp", "Cast"]
    x = np.array([1.01, -3.3, 0.007], kit.dtype_named("bfloat16"))
    total = (x.astype(np.float32) * 2).astype(x.dtype)
    expected = np.exp(total.astype(np.float32)).astype(x.dtype)
    for optimize in (False, True):
        np.testing.assert_array_equal(kit.run(model, [x, x], optimize=optimize)[0], expected.astype(np.float32))


def test_rounding_survives_the_optimizer(kit):
    """The runtime takes float32 -> bfloat16 -> float32 for what it is, at every level."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(1000).astype(kit.dtype_named("bfloat16"))
    value, nodes, expected = feed("x", ir.DataType.BFLOAT16, (1000,)), [], x
    first = value
    for _ in range(8):
        nodes.append(ir.node("Mul", [value, first]))
        value = typed(nodes[-1], first)
        expected = (expected.astype(np.float32) * x.astype(np.float32)).astype(x.dtype)
    value.name = "y"
    model = kit.model_of([first], nodes, [value], 21)
    kit.legalize(model)
    for optimize in (False, True):
        np.testing.assert_array_equal(kit.run(model, [x], optimize=optimize)[0], expected.astype(np.float32))


def test_exact_operators_of_bfloat16_need_one_cast_of_each_input(kit):
    model = chain(kit, ir.DataType.BFLOAT16, "Neg", "Floor", "Max", "Abs")
    kit.legalize(model)
    assert operators(model.graph) == ["Cast", "Neg", "Floor", "Cast", "Max", "Abs", "Cast"]


def test_small_constants_are_stored_in_the_wider_type(kit):
    x, dtype = feed("x", ir.DataType.BFLOAT16), kit.dtype_named("bfloat16")
    few, many = (ir.Value(name=n, const_value=ir.tensor(np.full(s, 1.1, dtype))) for n, s in (("a", 3), ("b", 300)))
    for value in (few, many):
        value.type, value.shape = ir.TensorType(ir.DataType.BFLOAT16), ir.Shape(value.const_value.shape)
    first = ir.node("Mul", [x, few])
    typed(first, x)
    second = ir.node("ReduceMax", [many], {"keepdims": 0})
    second.outputs[0].type, second.outputs[0].shape = ir.TensorType(ir.DataType.BFLOAT16), ir.Shape(())
    third = ir.node("Mul", [first.outputs[0], second.outputs[0]])
    typed(third, x)
    third.outputs[0].name = "y"
    model = kit.model_of([x], [first, second, third], third.outputs, 21, [few, many])
    kit.legalize(model)
    cast = [node.inputs[0].name for node in model.graph if node.op_type == "Cast"]
    assert "b" in cast
    assert "a" not in cast
    values = np.array([1, -2, 3], dtype)
    expected = (values * dtype.type(1.1)) * dtype.type(1.1)
    np.testing.assert_array_equal(kit.run(model, [values])[0], expected.astype(np.float32))


@pytest.mark.parametrize("target", ["onnxruntime", None])
def test_layer_norm_of_bfloat16_takes_the_quicker_kernel(kit, target):
    """The runtime has one for bfloat16 too, with the same numbers; it takes 4.7 times as long."""
    dtype = kit.dtype_named("bfloat16")
    x, weight = feed("x", ir.DataType.BFLOAT16, (5, 64)), feed("w", ir.DataType.BFLOAT16, (64,))
    node = ir.node("LayerNormalization", [x, weight])
    typed(node, x)
    node.outputs[0].name = "y"
    model = kit.model_of([x, weight], [node], node.outputs, 21)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((5, 64), (64,))]
    (before,) = kit.run(model, arrays)
    kit.legalize(model, target=target)
    casts = [] if target is None else ["Cast"]
    assert operators(model.graph) == [*casts * 2, "LayerNormalization", *casts]
    np.testing.assert_allclose(kit.run(model, arrays)[0], before, rtol=2**-7)


def test_intermediate_results_that_are_outputs_are_cast_back(kit):
    model = chain(kit, ir.DataType.UINT16, "Max", "Min")
    middle = model.graph[0].outputs[0]
    model.graph.outputs.append(middle)
    kit.legalize(model)
    assert operators(model.graph) == ["Cast", "Cast", "Max", "Cast", "Min", "Cast"]
    assert [out.dtype for out in model.graph.outputs] == [ir.DataType.UINT16] * 2


# Graphs inside nodes


def branch(op_type: str, x: ir.Value, name: str, other: ir.Value | None = None) -> ir.Graph:
    node = ir.node(op_type, [x, other or x], name=f"{name}/{op_type}")
    node.outputs[0].name = f"{name}_result"
    typed(node, x)
    return ir.Graph([], node.outputs, nodes=[node], name=name, opset_imports={"": 21})


def test_branches_of_if(kit):
    x, z = feed("x", ir.DataType.UINT16), feed("z", ir.DataType.UINT16)
    condition = feed("c", ir.DataType.BOOL, ())
    node = ir.node(
        "If", [condition], {"then_branch": branch("Max", x, "yes", z), "else_branch": branch("Add", x, "no")}
    )
    typed(node, x)
    node.outputs[0].name = "y"
    model = kit.model_of([x, z, condition], [node], node.outputs, 21)
    kit.legalize(model)
    assert operators(model.graph) == ["If"]
    assert operators(node.attributes["then_branch"].as_graph()) == ["Cast", "Cast", "Max", "Cast"]
    assert operators(node.attributes["else_branch"].as_graph()) == ["Add"]
    values = np.array([1, 40000, 65535], np.uint16)
    others = values[::-1]
    for taken, expected in ((True, np.maximum(values, others)), (False, values + values)):
        np.testing.assert_array_equal(kit.run(model, [values, others, np.array(taken)])[0], expected)


def test_casts_in_a_branch_stay_there(kit):
    """A value that was cast inside a branch is cast again outside; one that was cast outside is used inside."""
    x, condition = feed("x", ir.DataType.UINT16), feed("c", ir.DataType.BOOL, ())
    y = feed("y", ir.DataType.UINT16)
    before = ir.node("Max", [y, y])
    typed(before, y)
    inner = ir.node("Max", [x, y], name="inner")
    typed(inner, x)
    inner.outputs[0].name = "inner_result"
    yes = ir.Graph([], inner.outputs, nodes=[inner], name="yes", opset_imports={"": 21})
    node = ir.node("If", [condition], {"then_branch": yes, "else_branch": branch("Max", x, "no")})
    typed(node, x)
    after = ir.node("Max", [x, node.outputs[0]])
    typed(after, x)
    after.outputs[0].name = "z"
    model = kit.model_of([x, y, condition], [before, node, after], [after.outputs[0], before.outputs[0]], 21)
    kit.legalize(model)
    assert operators(yes) == ["Cast", "Max", "Cast"]  # x only: y was cast before
    a, b = np.array([1, 2, 3], np.uint16), np.array([2, 1, 65535], np.uint16)
    np.testing.assert_array_equal(kit.run(model, [a, b, np.array(True)])[0], np.maximum(a, b))


def test_body_of_loop(kit):
    dtype = ir.DataType.BFLOAT16
    x = feed("x", dtype)
    count = kit.initializer("count", np.array(3))
    going = kit.initializer("going", np.array(True))
    step, go, state = feed("step", ir.DataType.INT64, ()), feed("go", ir.DataType.BOOL, ()), feed("state", dtype)
    twice = ir.node("Add", [state, x], name="twice")
    typed(twice, state)
    again = ir.node("Identity", [go])
    typed(again, go)
    body = ir.Graph(
        [step, go, state],
        [again.outputs[0], twice.outputs[0], twice.outputs[0]],
        nodes=[again, twice],
        name="body",
        opset_imports={"": 21},
    )
    again.outputs[0].name, twice.outputs[0].name = "go_on", "next"
    node = ir.node("Loop", [count, going, x], {"body": body}, num_outputs=2)
    typed(node, x)
    node.outputs[1].shape = ir.Shape((3, 3))
    node.outputs[0].name, node.outputs[1].name = "last", "all"
    model = kit.model_of([x], [node], node.outputs, 21, [count, going])
    kit.legalize(model)
    assert body.outputs[1] is body.outputs[2]
    values = np.array([1, 2.5, -3], kit.dtype_named("bfloat16"))
    last, steps = kit.run(model, [values])
    np.testing.assert_array_equal(last, values.astype(np.float32) * 4)
    np.testing.assert_array_equal(steps[1], values.astype(np.float32) * 3)


def test_body_of_scan(kit):
    x = feed("x", ir.DataType.UINT16, (4,))
    state, element = feed("state", ir.DataType.UINT16, ()), feed("element", ir.DataType.UINT16, ())
    larger = ir.node("Max", [state, element], name="larger")
    typed(larger, state)
    same = ir.node("Identity", larger.outputs)
    typed(same, state)
    larger.outputs[0].name, same.outputs[0].name = "next", "seen"
    body = ir.Graph(
        [state, element], [larger.outputs[0], same.outputs[0]], nodes=[larger, same], name="b", opset_imports={"": 21}
    )
    start = kit.initializer("start", np.array(7, np.uint16))
    node = ir.node("Scan", [start, x], {"body": body, "num_scan_inputs": 1}, num_outputs=2)
    typed(node, x)
    node.outputs[0].shape = ir.Shape(())
    node.outputs[0].name, node.outputs[1].name = "last", "all"
    model = kit.model_of([x], [node], node.outputs, 21, [start])
    kit.legalize(model)
    values = np.array([1, 40000, 3, 65535], np.uint16)
    np.testing.assert_array_equal(kit.run(model, [values])[1], np.maximum.accumulate(np.maximum(values, 7)))


# Errors


def test_all_nodes_without_a_form_are_listed(kit):
    x = feed("x", ir.DataType.DOUBLE, (1, 2, 2))
    nodes = []
    for number, op_type in enumerate(("Det", "Det", "Det", "Det", "Det", "Hardmax")):
        source = {"j2o.source": f"model.py:{number} in forward"}
        nodes.append(ir.node(op_type, [x], name=f"{op_type}_{number}", metadata_props=source))
        typed(nodes[-1], x)
    model = kit.model_of([x], nodes, [node.outputs[0] for node in nodes], 21)
    with pytest.raises(LegalizeError) as caught:
        kit.legalize(model)
    message = str(caught.value)
    assert "6 nodes have no exact form in onnxruntime 1." in message
    assert "at opset 21" in message
    assert "Det(float64)   model.py:0 in forward" in message
    assert "and 2 more" in message
    assert "runs float32, float16" in message
    assert "Hardmax(float64)   model.py:5 in forward" in message
    assert "target=None" in message


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "opset", "reason"),
    [
        ("RMSNormalization", [ir.DataType.FLOAT] * 2, {}, 21, "opset 21 does not have this operator"),
        ("Add", [ir.DataType.FLOAT, ir.DataType.INT32], {}, 21, "different element types"),
        ("Add", [ir.DataType.BOOL, ir.DataType.BOOL], {}, 21, "ONNX allows float32"),
        ("Identity", [ir.DataType.COMPLEX64], {}, 21, "onnxruntime 1.* runs float32"),
        ("Cast", [ir.DataType.FLOAT], {"to": ir.DataType.FLOAT4E2M1.value}, 23, "runs"),
        ("Mod", [ir.DataType.FLOAT, ir.DataType.FLOAT], {"fmod": 0}, 21, "runs"),
        ("RandomNormalLike", [ir.DataType.FLOAT], {}, 22, "has no kernel"),
    ],
)
def test_reasons(kit, op_type, inputs, attributes, opset, reason):
    values = [feed(f"x{i}", dtype) for i, dtype in enumerate(inputs)]
    node = ir.node(op_type, values, attributes)
    typed(node, values[0], ir.DataType(attributes["to"]) if "to" in attributes else None)
    model = kit.model_of(values, [node], node.outputs, opset)
    with pytest.raises(LegalizeError, match=reason):
        kit.legalize(model)


def test_nodes_without_a_source_line_are_listed(kit):
    x = feed("x", ir.DataType.DOUBLE, (2, 2))
    node = ir.node("Det", [x])
    typed(node, x)
    model = kit.model_of([x], [node], node.outputs, 21)
    with pytest.raises(LegalizeError, match=r"Det\(float64\) +unknown source"):
        kit.legalize(model)


@pytest.mark.parametrize(
    ("target", "said"),
    [("onnxruntime", "onnxruntime 1.31 to 1.32"), ("onnxruntime-1.32", "onnxruntime 1.32"), (None, "standard ONNX")],
)
def test_the_model_says_where_it_runs(kit, target, said):
    model = kit.model_of([], [], [], 21)
    kit.legalize(model, target=target)
    assert model.metadata_props["j2o.target"] == said


def test_values_without_element_type_are_taken_as_they_are(kit):
    x = ir.Value(name="x")
    node = ir.node("Det", [x])
    model = kit.model_of([x], [node], node.outputs, 21)
    kit.legalize(model)
    assert operators(model.graph) == ["Det"]


def test_other_domains_are_left_alone(kit):
    x = feed("x", ir.DataType.UINT16)
    node = ir.node("Where", [x], domain="com.example")
    typed(node, x)
    model = kit.model_of([x], [node], node.outputs, 21)
    kit.legalize(model)
    assert operators(model.graph) == ["Where"]


def test_a_convolution_that_is_composed_is_not_guarded_against_nothing(plugin, check):
    plugin.lowering("conv_general_dilated")(lambda ctx, x, w, **_: ctx.op.Conv(x, w))
    with jax.enable_x64(True):
        weight = np.array([[[1.0, -2.0]]])
        specs = Spec(("N", 1, 5), np.float64)
        check(lambda x: lax.conv(x, weight, (1,), "VALID"), specs, constraints=["N >= 0"], sizes=(0, 2))


@pytest.mark.parametrize(
    ("dtype", "target", "advice"),
    [
        ("float8_e4m3fn", "onnxruntime", "Export at opset 19, compute these parts in another element type or pass "),
        ("uint4", None, "Export at opset 21 or compute these parts in another element type."),
        ("float4_e2m1fn", "onnxruntime", "Compute these parts in another element type or pass target=None"),
    ],
)
def test_the_error_names_the_opset_that_has_the_type(kit, dtype, target, advice):
    x = kit.sample(np.dtype(np.float32), (3, 4))
    narrow = x.astype(dtype)
    model = kit.node_model("Cast", [x], [narrow], {"to": kit.dtype_of(narrow)}, 18)
    with pytest.raises(LegalizeError, match=f"\n{re.escape(advice)}"):
        kit.legalize(model, target)
