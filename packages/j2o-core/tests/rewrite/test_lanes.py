"""Concat of lanes of one form is arithmetic of vectors, in fewer nodes; what is no such thing stays."""

import pytest

from .test_near_misses import rewritten


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


@pytest.mark.parametrize("name", PACKED)
def test_packed(name):
    text, expected = PACKED[name]
    assert rewritten(text) == expected


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    assert "Concat" in rewritten(KEPT[name])
