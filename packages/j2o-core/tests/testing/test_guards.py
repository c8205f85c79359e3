"""Which graphs are compared digit by digit, and which nodes belong to a text of a graph."""

import onnx
import onnx_ir as ir
import pytest

from j2o_core.testing._check import _computes_each_by_itself
from j2o_core.testing._graph_text import _from_outputs, _trunk


def model_of(text):
    text = f'<ir_version: 10, opset_import: ["" : 21]> {text}'
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("y = Exp (x)", True),
        ("y = Add (x, c)", True),
        ("y = Sub (c, x)", True),
        ("y = Add (x, z)", False),
        ("y = MatMul (x, z)", False),
        ("y = Sigmoid (x)", False),
    ],
)
def test_graphs_without_sums_are_compared_digit_by_digit(node, expected):
    model = model_of(f"g (float[2,2] x, float[2,2] z) => (y) <float c = {{1}}> {{ {node} }}")
    assert _computes_each_by_itself(model) is expected


def test_nodes_of_an_outer_graph_are_not_those_of_a_body():
    text = """g (bool c, float[2] x) => (y) { s = Sin (x)
    y = If (c) <then_branch = t () => (float[2] a) { a = Neg (s) }, else_branch = e () => (float[2] b) { b = Exp (s) }>
    }"""
    body = next(node for node in model_of(text).graph if node.op_type == "If").attributes["then_branch"].as_graph()
    assert [node.op_type for node in _from_outputs(body)] == ["Neg"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g (float[4] x, float[4] z) => (y) { s = Sin (z) y = Add (x, s) }", True),
        ("g (float[4] x, float[4] z) => (y, s) { s = Sin (z) y = Add (x, s) }", False),
        ("g (float[4] x, float[8] z) => (y, r) { s, r = Split <axis=0, num_outputs=2> (z) y = Add (x, s) }", False),
        ("g (float[4] x, float[4] z) => (y, r) { s = Sin (z) y = Add (x, s) r = Neg (s) }", False),
    ],
    ids=["chain", "output", "one of two", "read twice"],
)
def test_the_operand_that_a_chain_comes_from(text, expected):
    graph = model_of(text).graph
    nodes = set(graph)
    add = next(node for node in nodes if node.op_type == "Add")
    assert _trunk(add, nodes, set(graph.outputs)) == (add.inputs[1] if expected else add.inputs[0], expected)
    if expected:
        assert _trunk(add, {add}, set(graph.outputs)) == (add.inputs[0], False)
