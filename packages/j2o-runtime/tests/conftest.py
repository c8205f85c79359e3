"""Models as j2o writes them, made from ONNX text and a signature: docs/file-format.md describes it."""

import json

import onnx
import pytest


def array(name, *shape, dtype="float32", **rest):
    return {"array": name, "dtype": dtype, "shape": list(shape), **rest}


def model(text, arguments, results, *, positional=None, state=(), constraints=(), version=1):
    """The bytes of a model; text has its graph, with X for sizes that are expressions."""
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> f {text}')
    signature = {
        "version": version,
        "function": "f",
        "arguments": arguments,
        "positional": [name for name, _ in arguments] if positional is None else positional,
        "results": results,
        "state": list(state),
        "constraints": list(constraints),
    }
    made.metadata_props.add(key="j2o.signature", value=json.dumps(signature))
    onnx.checker.check_model(made)
    return made.SerializeToString()


@pytest.fixture
def total():
    """A running total: `f(x, carry, *, scale)`, of rows that come in pairs."""
    text = """(float[3] carry_h, float c, float scale, float[X, 3] x) => (float[3] h, float n, float[X, 3] y) {
        axes = Constant<value = int64[1] {0}>()
        one = Constant<value = float {1.0}>()
        sum = ReduceSum<keepdims = 0>(x, axes)
        scaled = Mul(sum, scale)
        h = Add(carry_h, scaled)
        n = Add(c, one)
        y = Sub(x, h)
    }"""
    carry = {"namedtuple": "Carry", "fields": [["h", array("carry_h", 3)], ["rest", {"list": [array("c"), None]}]]}
    after = {"namedtuple": "Carry", "fields": [["h", array("h", 3)], ["rest", {"list": [array("n"), None]}]]}
    scale = {"node": "Scale", "fields": [["by", array("scale")], ["mode", {"fixed": "fast"}]]}
    return model(
        text,
        [["carry", carry], ["scale", scale], ["x", array("x", "2*B", 3)]],
        {"dict": [["carry", after], ["y", array("y", "2*B", 3)]]},
        positional=["x", "carry"],
        state=[["h", "carry_h"], ["n", "c"]],
        constraints=["B <= 8"],
    )


@pytest.fixture
def rows():
    """`f(table, x)`, row by row."""
    return model(
        "(float[3, 2] table, float[N, 3] x) => (float[N, 2] y, float[N, 3] z) { y = MatMul(x, table) z = Neg(x) }",
        [["table", array("table", 3, 2)], ["x", array("x", "N", 3)]],
        {"tuple": [array("y", "N", 2), array("z", "N", 3)]},
    )
