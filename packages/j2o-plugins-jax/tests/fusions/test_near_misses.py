"""Graphs beside those of the fusions of this folder: each differs in an operand, a number, a shape or a dtype."""

import numpy as np
import pytest

from .graphs import fused, graph

INT32 = np.iinfo(np.int32)

# A number that is added and taken away, and numbers scaled twice

WHOLE = ("int32[4] i", "x = Cast <to=1> (i)")
# name: (graph, operators that are left)
CANCELLED = {
    "integers scaled twice": (
        graph("int16[4] h", ["int32 a = {2}", "int32 b = {4}"], "x = Cast <to=6> (h) p = Mul(x, a) y = Mul(p, b)"),
        ["Cast", "Mul", "Mul"],
    ),
    "no number at first": (
        graph("int32[4] i, float[4] z", ["float a = {0.5}"], "x = Cast <to=1> (i) p = Mul(x, z) y = Mul(p, a)"),
        ["Cast", "Mul", "Mul"],
    ),
    "no number behind": (
        graph("int32[4] i, float[4] z", ["float a = {0.5}"], "x = Cast <to=1> (i) p = Mul(x, a) y = Mul(p, z)"),
        ["Cast", "Mul", "Mul"],
    ),
    "no power of two": (
        graph("int32[4] i", ["float a = {3}", "float b = {0.1}"], "x = Cast <to=1> (i) p = Mul(x, a) y = Mul(p, b)"),
        ["Cast", "Mul", "Mul"],
    ),
    "a float without -0": (
        graph("float[4] x", ["float a = {1}"], "p = Abs(x) s = Add(p, a) y = Sub(s, a)"),
        ["Abs", "Add", "Sub"],
    ),
    "infinity": (
        graph("int32[4] i", ["float a = {inf}"], "x = Cast <to=1> (i) s = Add(x, a) y = Sub(s, a)"),
        ["Cast", "Add", "Sub"],
    ),
}


@pytest.mark.parametrize("name", CANCELLED)
def test_numbers_that_are_not_cancelled(name):
    text, operators = CANCELLED[name]
    assert fused(text) == operators


def test_halves_that_are_added_and_taken_away():
    constants = ["float half = {0.5}", "float a = {4}"]
    text = graph("int8[4] i", constants, "x = Cast <to=1> (i) h = Mul(x, half) s = Add(h, a) y = Sub(s, a)")
    assert fused(text, i=np.array([-128, -1, 0, 127], np.int8)) == ["Cast", "Mul"]


# Conversions that saturate


def saturated(to=6, tested="w", zero=0, low=INT32.min, high=INT32.max, outputs="y"):
    constants = [f"double zero = {{{zero}}}", f"double low = {{{low}}}", f"double high = {{{high}}}"]
    nodes = f"w = Cast <to=11> (x) p = IsNaN({tested}) z = Where(p, zero, w) c = Clip(z, low, high)"
    return graph("float[1000] x, double[1000] o", constants, nodes, f"y = Cast <to={to}> (c)", outputs=outputs)


def test_a_conversion_that_saturates():
    assert "If" in fused(saturated())


CONVERSIONS = {
    "to int64": saturated(to=7),
    "a test of another": saturated(tested="o"),
    "another number for NaN": saturated(zero=5e9),
    "other bounds": saturated(low=-1, high=1),
    "clipped numbers that are read": saturated(outputs="y, c"),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_other_conversions(name):
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert "If" not in fused(CONVERSIONS[name], x=np.where(x > 0, x, np.nan))


# Products of few numbers

PRODUCTS = {
    "a vector times columns": graph("float[4] x, float[5,4,1] z", [], "y = MatMul(x, z)"),
    "one matrix for all": graph("float[40,2,3] x, float[1,3,1] z", [], "y = MatMul(x, z)"),
    "integers": graph("int32[40,2,3] x, int32[40,3,1] z", [], "y = MatMul(x, z)"),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_matrices(name):
    assert fused(PRODUCTS[name]) == ["MatMul"]


# Unsigned integers

ONES = np.ones(4, np.uint32)
WORDS = {
    "a quotient of more rows": (graph("uint32[4] x", ["uint32[2,1] a = {8, 8}"], "y = Div(x, a)"), ["Div"]),
    "a quotient of two": (graph("uint32[4] x, uint32[4] ones", [], "y = Div(x, ones)"), ["Div"]),
    "quotients of rows": (graph("uint32[2,4] x", ["uint32[2,1] a = {8, 4}"], "y = Div(x, a)"), ["Div"]),
    "no quotient": (graph("uint32[0] x", ["uint32[0] a = {}"], "y = Div(x, a)"), None),
    "bytes": (graph("uint8[4] x", ["uint8 a = {3}"], 'y = BitShift <direction="LEFT"> (x, a)'), ["BitShift"]),
    "shifts of more rows": (
        graph("uint32[4] x", ["uint32[2,1] a = {3, 3}"], 'y = BitShift <direction="LEFT"> (x, a)'),
        ["BitShift"],
    ),
    "bits of negative numbers": (
        graph(
            "int32[4] x, int32[4] z",
            ["int32 a = {8}", "int32 b = {7}"],
            "p = Mul(x, a) n = Neg(z) q = Min(n, b) y = BitwiseOr(p, q)",
        ),
        ["Mul", "Neg", "Min", "BitwiseOr"],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_words(name):
    text, operators = WORDS[name]
    found = fused(text, ones=ONES)
    assert operators in (None, found)


# Indices


def clipped(clip):
    return graph(
        "int32[4] i, int64 low",
        ["int64 a = {1}", "int64 far = {1099511627776}", "int64 less = {-1099511627776}"],
        f"c = Cast <to=7> (i) {clip}",
    )


CLIPPED = {
    "one bound": clipped("y = Clip(c, a)"),
    "a bound that is given": clipped("y = Clip(c, low, a)"),
    "a wide upper bound": clipped("y = Clip(c, a, far)"),
    "a wide lower bound": clipped("y = Clip(c, less, a)"),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_indices_that_are_clipped_in_64_bits(name):
    assert "Clip" in fused(CLIPPED[name], low=np.array(3), i=np.array([-1, 0, 3, 9], np.int32))


@pytest.mark.parametrize("clip", ["Clip(i, a)", "Max(i, a, b)"])
def test_clamps_with_one_end_and_with_three_operands(clip):
    text = graph("int32[4] i", ["int32 a = {1}", "int32 b = {3}"], f"y = {clip}")
    fused(text, i=np.array([-1, 0, 3, 9], np.int32))


def from_the_end(
    x="float[4,2] x",
    i="int32[6] i",
    less="Less(i, zero)",
    low=0,
    clip="Clip(c, low, high)",
    to=7,
    zeros="int32 zero = {0}",
):
    dtype = i.partition("[")[0]
    kind = {7: "int64", 6: "int32"}[to]
    return graph(
        f"{x}, {i}, int32[6] j",
        [zeros.replace("int32", dtype), f"{dtype} n = {{4}}", f"{kind} low = {{{low}}}", f"{kind} high = {{3}}"],
        f"p = {less} s = Add(i, n) w = Where(p, s, i) c = Cast <to={to}> (w) k = {clip} y = Gather(x, k)",
    )


FROM_THE_END = {
    "a longer axis": from_the_end("float[5,2] x"),
    "one bound": from_the_end(clip="Clip(c, low)"),
    "a bound of one": from_the_end(low=1),
    "floats": from_the_end(i="float[6] i"),
    "another that is negative": from_the_end(less="Less(j, zero)"),
    "indices below one": from_the_end(less="Less(i, one)").replace("<int32", "<int32 one = {1}, int32"),
    "more rows": from_the_end(zeros="int32[2,1] zero = {0, 0}"),
    "indices cut to 32 bits": from_the_end(i="int64[6] i", to=6),
}


@pytest.mark.parametrize("name", FROM_THE_END)
def test_indices_that_are_computed(name):
    text = FROM_THE_END[name]
    i = np.array([0, -1, 3, -4, 2, -3])
    if name == "one bound":
        i = np.maximum(i, 0)
    elif name == "floats":
        i = i.astype(np.float32) + np.float32(0.5)
    elif name == "indices cut to 32 bits":
        i = i + 2**32
    i = i if i.dtype == np.float32 or "int64[6] i" in text else i.astype(np.int32)
    assert "Where" in fused(text, i=i, j=np.array([-1, 1, -1, 1, 1, 1], np.int32))


def test_indices_from_the_end():
    i = np.array([0, -1, 3, -4, 2, 7], np.int32)
    assert "Where" not in fused(from_the_end(), i=i, j=i)


def test_numbers_at_no_indices():
    fused(graph("float[40] x, int64[0,B] i", [], "y = Gather(x, i)"), i=np.zeros((0, 2), np.int64))


# Windows


def test_a_mean_over_windows_that_is_divided_for_more_rows():
    pool = "p = AveragePool <kernel_shape=[2], count_include_pad=1> (x)"
    text = graph("float[1,1,4] x", ["float[2,1,1] n = {2, 2}"], pool, "s = Mul(p, n) y = Div(s, n)")
    assert "Div" in fused(text) or "Expand" in fused(text)
