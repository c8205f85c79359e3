"""Pointwise operators have the shape that takes the fewest Reshapes; where others are needed, they stay."""

import onnx
import onnx_ir as ir
import pytest

from j2o_core.target import Target
from j2o_core.testing._legalized import rewrite_model

from .test_near_misses import HEADER, rewritten


def graph(nodes, *, shape="3,1", dtype="float", results="y", more=""):
    return (
        f"g ({dtype}[{shape}] x, {dtype}[{shape}] z, {dtype}[3] v) => ({results})"
        f"<int64[1] flat = {{3}}, int64[2] column = {{3,1}}, int64[2] row = {{1,3}}, int64[1] one = {{1}}, "
        f"{dtype} two = {{2}}, {dtype}[3] w = {{1,2,3}}{more}> {{ {nodes} }}"
    )


IN = "a = Reshape(x, flat) b = Reshape(z, flat) "
MOVED = {
    "between": (graph(IN + "c = Mul(a, b) d = Exp(c) y = Reshape(d, column)"), ["Mul", "Exp"]),
    "in": (graph(IN + "y = Mul(a, b)"), ["Mul", "Reshape"]),
    "numbers": (graph(IN + "c = Mul(a, b) d = Add(two, c) y = Reshape(d, column)"), ["Mul", "Add"]),
    "constants": (graph(IN + "c = Mul(a, w) d = Add(c, b) y = Reshape(d, column)"), ["Mul", "Add"]),
    "to two shapes": (
        graph(IN + "c = Mul(a, b) y = Reshape(c, column) u = Reshape(c, row)", results="y, u"),
        ["Mul", "Reshape"],
    ),
    "with a reduction": (
        graph("s = ReduceSum <keepdims=0> (x, one) c = Sqrt(s) d = Add(c, c) y = Reshape(d, column)"),
        ["ReduceSum", "Sqrt", "Add"],
    ),
    "shape that data say": (
        graph(
            IN + "c = Mul(a, b) n = Cast <to=7> (v) s = Shape(n) y = Reshape(c, s) u = Reshape(c, column)",
            results="y, u",
        ),
        ["Cast", "Shape", "Mul", "Reshape", "Reshape"],
    ),
    "of one element": (
        graph("a = ReduceMax <keepdims=1> (v) b = Exp(a) y = Reshape(b, one)"),
        ["ReduceMax", "Exp"],
    ),
}
MOVED |= {
    "constants of no cost": (graph(IN + "c = Mul(a, b) y = Add(c, w)"), ["Mul", "Add", "Reshape"]),
    "to one shape twice": (
        graph("c = Mul(v, w) d = Exp(c) y = Reshape(c, column) u = Reshape(d, column)", results="y, u"),
        ["Reshape", "Mul", "Exp"],
    ),
}
SPLIT = "a = Reshape(x, flat) p, q = Split <axis=0> (a, parts) "
PARTS = ", int64[2] parts = {1,2}, int64[2] column1 = {1,1}, int64[2] column2 = {2,1}, int64[3] cube2 = {1,1,2}"
MOVED |= {
    "parts": (
        graph(SPLIT + "y = Reshape(p, column1) u = Reshape(q, column2)", results="y, u", more=PARTS),
        ["Split"],
    ),
    "parts in other shapes": (
        graph(SPLIT + "y = Reshape(p, column1) u = Reshape(q, cube2)", results="y, u", more=PARTS),
        ["Split", "Reshape"],
    ),
    "parts of the last axis": (
        graph(
            "a = Reshape(x, cube) p, q = Split <axis=1> (a, parts) y = Reshape(p, column1) u = Reshape(q, column2)",
            results="y, u",
            more=PARTS + ", int64[3] cube = {1,3,1}",
        ),
        ["Split"],
    ),
}
KEPT = {
    "a part that is read as it is": (
        graph(SPLIT + "y = Softmax <axis=0> (p) u = Reshape(q, column2)", results="y, u", more=PARTS),
        ["Reshape", "Split", "Softmax", "Reshape"],
    ),
    "a part that is a result": (
        graph(SPLIT + "u = Reshape(q, column2)", results="p, u", more=PARTS),
        ["Reshape", "Split", "Reshape"],
    ),
    "parts of several axes in one": (
        graph(
            "a = Reshape(x, flat) p, q = Split <axis=0> (a, parts) y = Reshape(p, p1) u = Reshape(q, q1)",
            shape="2,3",
            results="y, u",
            more=", int64[2] parts = {2,4}, int64[2] p1 = {2,1}, int64[2] q1 = {4,1}".replace("flat = {3}", ""),
        ).replace("flat = {3}", "flat = {6}"),
        ["Reshape", "Split", "Reshape", "Reshape"],
    ),
    "no pointwise operator": (
        graph("a = Reshape(x, flat) c = CumSum(a, first) y = Reshape(c, row)", shape="1,3", more=", int64 first = {0}"),
        ["Reshape", "CumSum", "Reshape"],
    ),
    "half precision, to one shape twice": (
        graph(
            "c = Mul(v, w) d = Exp(c) y = Reshape(c, column) u = Reshape(d, column)", results="y, u", dtype="float16"
        ),
        ["Mul", "Exp", "Reshape", "Reshape"],
    ),
    "a reduction without axes": (
        graph("a = ArgMax <axis=0, keepdims=0> (v) b = Add(a, i) y = Reshape(b, one)", more=", int64 i = {5}"),
        ["ArgMax", "Add", "Reshape"],
    ),
    "another operand": (graph("a = Reshape(x, flat) y = Mul(a, v)"), ["Reshape", "Mul"]),
    "another reader": (
        graph("c = Mul(v, v) d = Softmax <axis=0> (c) y = Reshape(c, column)", results="y, d"),
        ["Mul", "Softmax", "Reshape"],
    ),
    "broadcast": (
        graph(
            "a = Reshape(x, row) c = Mul(a, z) y = Reshape(c, [9])".replace("[9]", "nine"), more=", int64[1] nine = {9}"
        ),
        ["Reshape", "Mul", "Reshape"],
    ),
    "half precision": (
        graph(IN + "c = Mul(a, b) d = Add(c, b) y = Reshape(d, column)", dtype="float16"),
        ["Reshape", "Reshape", "Mul", "Add", "Reshape"],
    ),
}


@pytest.mark.parametrize("name", [*MOVED, *KEPT])
def test_regions(name):
    text, expected = {**MOVED, **KEPT}[name]
    assert rewritten(text) == expected


def places(nodes, results="y"):
    return f"""g (float[3,4] x, float[3,4] weight, float[3,N] n) => ({results})
        <int64[1] s0 = {{0}}, int64[1] s1 = {{1}}, int64[1] s2 = {{2}}, int64[1] s3 = {{3}}, int64[1] four = {{4}},
         int64[1] eight = {{8}}, int64[1] three = {{3}}, int64[2] halves = {{2,2}}, int64 o = {{0}},
         int64[2] two = {{1,2}}, int64[3] cube = {{1,1,4}}> {{ {nodes} }}"""


PLACES = {
    "a row": (places("a = Slice(x, s1, s2, s0) b = Reshape(a, four) y = CumSum(b, o)"), ["Gather", "CumSum"]),
    "a column": (places("a = Slice(x, s1, s2, s1) b = Reshape(a, three) y = CumSum(b, o)"), ["Gather", "CumSum"]),
    "a row that is read twice": (
        places("a = Slice(x, s1, s2, s0) b = Reshape(a, four) y = CumSum(b, o) u = Softmax(b)", "y, u"),
        ["Gather", "CumSum", "Softmax"],
    ),
    "a row in another shape": (
        places("a = Slice(x, s1, s2, s0) b = Reshape(a, halves) y = CumSum(b, o)"),
        ["Slice", "Reshape", "CumSum"],
    ),
    "a row in two shapes": (
        places(
            "a = Slice(x, s1, s2, s0) b = Reshape(a, four) y = CumSum(b, o) c = Reshape(a, cube) u = CumSum(c, o)",
            "y, u",
        ),
        ["Slice", "Reshape", "CumSum", "Reshape", "CumSum"],
    ),
    "two rows": (
        places("a = Slice(x, s1, s3, s0) b = Reshape(a, eight) y = CumSum(b, o)"),
        ["Slice", "Reshape", "CumSum"],
    ),
    "a row that is a result": (
        places("a = Slice(x, s1, s2, s0) b = Reshape(a, four) y = CumSum(b, o)", "y, a"),
        ["Slice", "Reshape", "CumSum"],
    ),
    "a row, and the others": (
        places("a, b = Split <axis=0> (x, two) p = Reshape(a, four) y = CumSum(p, o) u = CumSum(b, o)", "y, u"),
        ["Split", "Reshape", "CumSum", "CumSum"],
    ),
    "symbolic sizes": (
        places("a = Slice(n, s1, s2, s0) b = Shape <start=1> (n) c = Reshape(a, b) y = CumSum(c, o)"),
        ["Slice", "Shape", "Reshape", "CumSum"],
    ),
    "a row of a weight": (
        places("a = Slice(weight, s1, s2, s0) b = Reshape(a, four) y = CumSum(b, o)"),
        ["Slice", "Reshape", "CumSum"],
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_places(name):
    text, expected = PLACES[name]
    assert sorted(rewritten(text)) == sorted(expected)


def test_limits_of_a_clip_stay_scalars():
    text = graph(
        IN + "c = Less(a, low) d = Where(c, b, a) e = Clip(d, low, two) y = Reshape(e, ones)",
        shape="1,1",
        more=", int64[2] ones = {1,1}, float low = {1}",
    ).replace("int64[1] flat = {3}", "int64[0] flat = {}")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(HEADER + text)))
    rewrite_model(model, Target(None, 21))
    assert [node.op_type for node in model.graph] == ["Less", "Where", "Clip"]
    assert [list(value.shape) for value in model.graph[-1].inputs] == [[1, 1], [], []]
