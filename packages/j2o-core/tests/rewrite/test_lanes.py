"""Concat of lanes of one form is arithmetic of vectors, in fewer nodes; what is no such thing stays."""

import onnx
import onnx_ir as ir
import pytest

from j2o_core.graph._nonfinite import difference, only_finite
from j2o_core.target import Target
from j2o_core.testing._legalized import rewrite_model

from .test_near_misses import HEADER, rewritten


def graph(nodes, *, sizes="2,3", dtype="float", results="y"):
    """A graph of components x0, x1, x2 of x, and y0, y1, y2 of z, along axis 1."""
    parts = " ".join(
        f"{name}{index} = Slice({source}, s{index}, s{index + 1}, axis)"
        for name, source in (("x", "x"), ("y", "z"))
        for index in range(3)
    )
    places = ", ".join(f"int64[1] s{index} = {{{index}}}" for index in range(4))
    return (
        f"g ({dtype}[{sizes}] x, {dtype}[{sizes}] z) => ({results})"
        f"<int64[1] axis = {{1}}, {places}, {dtype} two = {{2}}, {dtype} three = {{3}}> {{ {parts} {nodes} }}"
    )


CROSS = """a0 = Mul(x1, y2) b0 = Mul(x2, y1) c0 = Sub(a0, b0)
    a1 = Mul(x2, y0) b1 = Mul(x0, y2) c1 = Sub(a1, b1)
    a2 = Mul(x0, y1) b2 = Mul(x1, y0) c2 = Sub(a2, b2)"""
JOINED = "y = Concat <axis=1> (c0, c1, c2)"
PLACES = ", ".join(f"int64[1] s{index} = {{{index}}}" for index in range(5))


def parts(source, name, count, axis="axis"):
    """The rows of a value along an axis."""
    return " ".join(f"{name}{index} = Slice({source}, s{index}, s{index + 1}, {axis})" for index in range(count))


PACKED = {
    "cross product": (
        graph(CROSS + JOINED),
        ["Gather", "Gather", "Mul", "Gather", "Gather", "Mul", "Sub"],
    ),
    "factors in another order": (
        graph("c0 = Mul(x0, y2) c1 = Mul(y0, x1) c2 = Mul(x2, y1)" + JOINED),
        ["Gather", "Mul"],
    ),
    "one factor for all": (
        graph("c0 = Mul(x0, y1) c1 = Mul(x1, y1) c2 = Mul(x2, y1)" + JOINED),
        ["Slice", "Mul"],
    ),
    "rows of a matrix": (
        graph(
            "c0 = Mul(x0, y1) c1 = Mul(x1, y2) c2 = Mul(x2, y0) r = Concat <axis=1> (c0, c1, c2)"
            "d0 = Mul(x1, y1) d1 = Mul(x2, y2) d2 = Mul(x0, y0) q = Concat <axis=1> (d0, d1, d2)"
            "u = Unsqueeze(r, axis) v = Unsqueeze(q, axis) y = Concat <axis=1> (u, v)"
        ),
        ["Gather", "Gather", "Mul", "Reshape"],
    ),
    "differences among sums": (
        graph("c0 = Add(x0, y1) c1 = Sub(x1, y2) c2 = Add(x2, y0)" + JOINED),
        ["Gather", "Mul", "Add"],
    ),
    "negatives": (
        graph("m1 = Mul(x1, y1) c0 = Neg(x0) c1 = Neg(m1) c2 = Neg(x2)" + JOINED),
        ["Split", "Slice", "Mul", "Concat", "Neg"],
    ),
    "some negatives": (
        graph("c0 = Neg(x0) c2 = Neg(x2) y = Concat <axis=1> (c0, x1, c2)"),
        ["Mul"],
    ),
    "multiples": (
        graph("m0 = Mul(x0, two) c0 = Add(m0, y0) c1 = Add(x1, y1) m2 = Mul(three, x2) c2 = Add(m2, y2)" + JOINED),
        ["Mul", "Add"],
    ),
    "a lane that is read elsewhere": (
        graph(CROSS + JOINED + " n = Exp(c1)", results="y, n"),
        ["Gather", "Gather", "Mul", "Gather", "Gather", "Mul", "Sub", "Slice", "Exp"],
    ),
    "a lane that is a result": (
        graph(CROSS + JOINED, results="y, c1"),
        ["Gather", "Gather", "Mul", "Gather", "Gather", "Mul", "Sub", "Slice"],
    ),
}
PACKED |= {
    "a part that is read elsewhere": (
        graph("c0 = Neg(x0) c2 = Neg(x2) n = Exp(x1) y = Concat <axis=1> (c0, x1, c2)", results="y, n"),
        ["Slice", "Exp", "Mul"],
    ),
    "inputs": (
        "g (float[2,1] a, float[2,1] b) => (y) { c0 = Exp(a) c1 = Exp(b) y = Concat <axis=1> (c0, c1) }",
        ["Concat", "Exp"],
    ),
    "a lane that another one needs, and that is a result": (
        graph("c0 = Mul(x0, y0) c1 = Mul(x1, c0) c2 = Mul(x2, y2)" + JOINED, results="y, c0"),
        ["Slice", "Split", "Mul", "Concat", "Mul"],
    ),
    "rows of other widths": (
        f"""g (float[2,4] x, float[2,5] z) => (y) <int64[1] axis = {{1}}, {PLACES}> {{
        {parts("x", "x", 4)} {parts("z", "z", 3)} c0 = Mul(x1, z0) c1 = Mul(x0, z2) c2 = Mul(x3, z1)
        r = Concat <axis=1> (c0, c1) u = Concat <axis=1> (c2, c0, c1) y = Concat <axis=1> (r, u) }}""",
        ["Gather", "Gather", "Mul"],
    ),
    "indices": (
        """g (float[2,6] x) => (y) <int64[1] i = {0}, int64[1] j = {3}, int64[1] k = {-1}> {
        a = Gather <axis=1> (x, i) b = Gather <axis=1> (x, j) c = Gather <axis=1> (x, k)
        c0 = Exp(b) c1 = Exp(a) c2 = Exp(c) y = Concat <axis=1> (c0, c1, c2) }""",
        ["Gather", "Exp"],
    ),
}
# Their neighbours are packed.
LEFT = {
    "rows joined along another axis": (
        f"""g (float[4,2] x) => (y) <int64[1] axis = {{0}}, {PLACES}> {{
        {parts("x", "x", 4)} a0 = Exp(x0) a1 = Exp(x1) a2 = Exp(x2) a3 = Exp(x3)
        c0 = Sin(a0) c1 = Sin(a1) c2 = Sin(a2) c3 = Sin(a3)
        r = Concat <axis=0> (c2, c0) q = Concat <axis=0> (c3, c1) y = Concat <axis=1> (r, q) }}""",
        ["Gather", "Exp", "Sin", "Gather", "Exp", "Sin", "Concat"],
    ),
    "rows of lanes of several sizes": (
        f"""g (float[2,4] x, float[2,3] z) => (y) <int64[1] axis = {{1}}, int64[3] up = {{2,3,1}}, {PLACES}> {{
        a = Slice(x, s0, s1, axis) b = Slice(x, s1, s3, axis) c = Slice(x, s2, s4, axis) d = Slice(x, s3, s4, axis)
        r = Concat <axis=1> (b, a) q = Concat <axis=1> (c, d)
        u = Reshape(r, up) v = Reshape(q, up) y = Concat <axis=1> (u, v) }}""",
        ["Split", "Slice", "Concat", "Concat", "Reshape", "Reshape", "Concat"],
    ),
    "turned rows": (
        f"""g (float[2,3] x, float[2,3] z) => (y) <int64[1] axis = {{0}}, int64[2] column = {{3,1}}, {PLACES}> {{
        {parts("x", "x", 2)} {parts("z", "z", 2)}
        a = Reshape(x0, column) b = Reshape(x1, column) c = Reshape(z0, column) d = Reshape(z1, column)
        c0 = Mul(a, d) c1 = Mul(b, c) y = Concat <axis=1> (c0, c1) }}""",
        ["Split", "Split", "Mul", "Reshape", "Mul", "Reshape", "Concat"],
    ),
    "negatives of half precision": (
        graph("c0 = Neg(x0) c2 = Neg(x2) y = Concat <axis=1> (c0, x1, c2)", dtype="float16"),
        ["Split", "Neg", "Neg", "Concat"],
    ),
    "products of half precision": (
        graph(
            "h0 = Cast <to=10> (x0) h1 = Cast <to=10> (x1) h2 = Cast <to=10> (x2)"
            "m0 = Mul(h0, h1) m1 = Mul(h1, h2) m2 = Mul(h2, h0)"
            "c0 = Cast <to=1> (m0) c1 = Cast <to=1> (m1) c2 = Cast <to=1> (m2)" + JOINED
        ),
        ["Split", *["Cast"] * 3, *["Mul"] * 3, *["Cast"] * 3, "Concat"],
    ),
    "two products of four values": (
        """g (float[2,1] a, float[2,1] b, float[2,1] c, float[2,1] d) => (y) {
        p = Softmax(a) q = Softmax(b) r = Softmax(c) s = Softmax(d)
        c0 = Mul(p, q) c1 = Mul(r, s) y = Concat <axis=1> (c0, c1) }""",
        [*["Softmax"] * 4, "Mul", "Mul", "Concat"],
    ),
    "a lane that the others depend on, and that is read elsewhere": (
        graph(
            "c0 = Mul(x0, y0) p = CumSum(c0, first) c1 = Mul(x1, p) c2 = Mul(x2, y2)" + JOINED,
        ).replace("<int64[1] axis", "<int64 first = {0}, int64[1] axis"),
        ["Split", "Split", "Mul", "CumSum", "Mul", "Mul", "Concat"],
    ),
    "one lane": (graph("c0 = Mul(x0, y1) y = Concat <axis=1> (c0, c0, c0)"), ["Slice", "Slice", "Mul", "Concat"]),
    "one part": (graph("a = Concat <axis=1> (x1, x1, x1) y = Exp(a)"), ["Slice", "Concat", "Exp"]),
    "other axes": (
        graph("c0 = Softmax <axis=1> (x0) c1 = Softmax <axis=1> (x1) c2 = Softmax <axis=1> (x2)" + JOINED),
        ["Split", *["Softmax"] * 3, "Concat"],
    ),
    "another attribute": (
        graph(
            "c0 = LeakyRelu <alpha=0.5> (x0) c1 = LeakyRelu <alpha=0.25> (x1) c2 = LeakyRelu <alpha=0.5> (x2)" + JOINED
        ),
        ["Split", *["LeakyRelu"] * 3, "Concat"],
    ),
    "another number": (
        graph("c0 = Clip(x0, two) c1 = Clip(x1, three) c2 = Clip(x2, two)" + JOINED),
        ["Split", *["Clip"] * 3, "Concat"],
    ),
    "another domain": (
        graph("c0 = Exp(x0) c1 = other.Exp(x1) c2 = Exp(x2)" + JOINED),
        ["Split", *["Exp"] * 3, "Concat"],
    ),
    "parts of several places": (
        f"""g (float[2,4] x) => (y) <int64[1] axis = {{1}}, {PLACES}> {{
        a = Slice(x, s0, s2, axis) b = Slice(x, s2, s4, axis) p = Unsqueeze(a, axis) q = Unsqueeze(b, axis)
        c0 = Exp(q) c1 = Exp(p) y = Concat <axis=1> (c0, c1) }}""",
        ["Split", "Reshape", "Reshape", "Concat", "Exp"],
    ),
    "parts of equal sizes": (
        "g (float[2,2] x) => (y) { a, b = Split <axis=1, num_outputs=2> (x) y = Concat <axis=1> (b, a) }",
        ["Split", "Concat"],
    ),
    "parts along the first axis": (
        f"g (float[2,3] x) => (y) <{PLACES}> {{ a = Slice(x, s0, s1) b = Slice(x, s1, s2) y = Concat <axis=0> (b, a)}}",
        ["Slice", "Slice", "Concat"],
    ),
    "a lane from around the branch": (
        f"""g (float[2,4] x, bool p) => (y, n) <int64[1] axis = {{1}}, {PLACES}> {{
        {parts("x", "x", 4)} e0 = Exp(x0) e1 = Exp(x1) e2 = Exp(x2) e3 = Exp(x3) n = Add(e1, e1)
        y = If(p) <
        then_branch = a () => (float[2,4] u) {{
            c0 = Neg(e0) c2 = Neg(e2) c3 = Neg(e3) u = Concat <axis=1> (c0, e1, c2, c3) }},
        else_branch = b () => (float[2,4] v) {{ v = Sum(x, e0, e2, e3) }}> }}""",
        ["Split", "Exp", "Exp", "Exp", "Exp", "Add", "If"],
    ),
    "lanes from around the branch": (
        f"""g (float[2,3] x, bool p) => (y) <int64[1] axis = {{1}}, {PLACES}> {{
        {parts("x", "x", 3)} e0 = Exp(x0) e1 = Exp(x1) e2 = Exp(x2)
        y = If(p) <
        then_branch = a () => (float[2,3] u) {{ u = Concat <axis=1> (e2, e1, e0) }},
        else_branch = b () => (float[2,3] v) {{ v = Neg(x) }}> }}""",
        ["Split", "Exp", "Exp", "Exp", "If"],
    ),
}
KEPT = {
    "another operator": graph("c0 = Exp(x0) c1 = Log(x1) c2 = Exp(x2)" + JOINED),
    "operands of other dtypes": graph(
        "i0 = Cast <to=6> (x0) i1 = Cast <to=7> (x1) i2 = Cast <to=6> (x2)"
        "c0 = Cast <to=1> (i0) c1 = Cast <to=1> (i1) c2 = Cast <to=1> (i2)" + JOINED
    ),
    "half precision": graph(CROSS + JOINED, dtype="float16"),
    "symbolic sizes": graph(CROSS + JOINED, sizes="N,3"),
    "large": graph(CROSS + JOINED, sizes="2000,3"),
    "a lane that another one needs": graph(
        "c0 = Mul(x0, y0) c1 = Mul(x1, c0) c2 = Mul(x2, y2)" + JOINED, results="y, c0"
    ),
}


@pytest.mark.parametrize("name", [*PACKED, *LEFT])
def test_lanes(name):
    text, expected = {**PACKED, **LEFT}[name]
    assert rewritten(text) == expected


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    assert "Concat" in rewritten(KEPT[name])


def test_a_number_times_a_constant_array_is_no_multiple_of_a_lane():
    text = graph("c0 = Mul(two, pair) y = Concat <axis=1> (c0, pair)")
    assert rewritten(text.replace("float two", "float[2,1] pair = {-3,-3}, float two")) == ["Mul"]


def test_lanes_of_finite_numbers_only_keep_their_notes():
    text = graph("c0 = Mul(x0, y2) c1 = Mul(x1, y0) c2 = Mul(x2, y1)" + JOINED)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(HEADER + text)))
    for node in model.graph:
        if node.op_type == "Mul":
            only_finite(node.outputs[0], "not for NaN")
    rewrite_model(model, Target(None, 21))
    assert [node.op_type for node in model.graph if difference(node)] == ["Mul", "Mul", "Mul"]
