"""The traits agree with ONNX's own definitions of the operators."""

import onnx
import pytest

from j2o_core import traits

TRAITS = {name: value for name, value in vars(traits).items() if name.isupper()}


def schema(op_type):
    return onnx.defs.get_schema(op_type, max_inclusive_version=26)


def types(op_type, parameter):
    """The element types that a parameter may have."""
    allowed = {
        constraint.type_param_str: constraint.allowed_type_strs for constraint in schema(op_type).type_constraints
    }
    return set(allowed.get(parameter.type_str, [parameter.type_str]))


@pytest.mark.parametrize("name", TRAITS)
def test_names_are_operators_and_stand_once(name):
    assert len(set(TRAITS[name])) == len(TRAITS[name])
    for op_type in TRAITS[name]:
        assert schema(op_type)


def shape_of_result(op_type, inputs):
    values = [onnx.helper.make_tensor_value_info(f"x{i}", 1, shape) for i, shape in enumerate(inputs)]
    attributes = {"axes": [0]} if op_type in traits.REDUCTIONS and "axes" in schema(op_type).attributes else {}
    node = onnx.helper.make_node(op_type, [value.name for value in values], ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "g", values, [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 26)])
    (result,) = onnx.shape_inference.infer_shapes(model).graph.output
    return [dimension.dim_value for dimension in result.type.tensor_type.shape.dim]


FLOATS = [op_type for op_type in traits.MAPS if "tensor(float)" in types(op_type, schema(op_type).inputs[0])]


@pytest.mark.parametrize("op_type", FLOATS)
def test_maps_keep_the_shape(op_type):
    assert shape_of_result(op_type, [[2, 3]]) == [2, 3]
    assert op_type in traits.SAME_SHAPE


BINARY = [op_type for op_type in traits.BROADCASTS if "tensor(float)" in types(op_type, schema(op_type).inputs[0])]


@pytest.mark.parametrize("op_type", BINARY)
def test_operands_broadcast_both_ways(op_type):
    assert shape_of_result(op_type, [[2, 1], [3]]) == [2, 3]


@pytest.mark.parametrize("op_type", traits.TRUTHS)
def test_truths_are_boolean(op_type):
    assert types(op_type, schema(op_type).outputs[0]) == {"tensor(bool)"}


@pytest.mark.parametrize("op_type", traits.COUNTS)
def test_counts_are_int64(op_type):
    assert types(op_type, schema(op_type).outputs[0]) == {"tensor(int64)"}


@pytest.mark.parametrize("op_type", traits.MOVES)
def test_what_is_moved_keeps_its_type(op_type):
    assert schema(op_type).inputs[0].type_str == schema(op_type).outputs[0].type_str


@pytest.mark.parametrize("op_type", traits.CONTROL_FLOW)
def test_control_flow_holds_graphs(op_type):
    kinds = {attribute.type for attribute in schema(op_type).attributes.values()}
    assert onnx.defs.OpSchema.AttrType.GRAPH in kinds
