"""Graphs beside those of activations: each differs from one in an operand, a number, a shape or an axis."""

import numpy as np
import pytest

from ..graphs import fused, graph

ZERO, ONE, TWO, HALF = "float zero = {0}", "float one = {1}", "float two = {2}", "float half = {0.5}"
X, BOTH = "float[4] x", "float[4] x, float[4] z"
ZEROS, TWO_ROWS = "float[2,4] rows = {0, 0, 0, 0, 0, 0, 0, 0}", "float[2,4] rows = {1, 1, 1, 1, 1, 1, 1, 1}"
HALVES = "float[2,4] rows = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}"

EXPM1 = "a = Abs(w) big = GreaterOrEqual(a, one) e = Exp(w) far = Sub(e, one) h = Mul(w, half) t = Tanh(h)"


def elu(inner, *constants, above="x"):
    nodes = f"p = GreaterOrEqual(x, zero) {inner} e = Exp(c) n = Sub(e, one) y = Where(p, {above}, n)"
    return graph(BOTH, [ZERO, ONE, *constants], nodes)


def log1p(
    one="one", nothing="zero", least="m = Min(d, large)", of="d", large="1e30", last="y = Mul(e, w)", outputs="y"
):
    return graph(
        X,
        [ZERO, ONE, TWO, TWO_ROWS, f"float large = {{{large}}}"],
        "a = Abs(x) n = Neg(a) e = Exp(n) u = Add(one, e) d = Sub(u, one) other = Mul(d, two)",
        f"f = Equal(d, {nothing}) l = Log(u) {least} q = Div(l, m) w = Where(f, {one}, q) {last}",
    )


# name: (graph, an operator that stays)
OTHERS = {
    # Comparisons with a number
    "a threshold of more rows": (
        graph(X, [HALF, ZEROS], "p = Greater(x, half) y = Where(p, x, rows)"),
        "Where",
    ),
    # Clip
    "two lower bounds": (graph(X, [ONE], "m = Relu(x) y = Max(m, one)"), "Max"),
    "two upper bounds": (graph(X, [ONE, TWO], "m = Min(x, two) y = Min(m, one)"), "Min"),
    "a maximum of three": (graph(BOTH, [ONE, TWO], "m = Min(x, two) y = Max(m, one, z)"), "Max"),
    "the bound of another": (
        graph(BOTH, [ZERO, ONE], "m = Max(x, zero) p = GreaterOrEqual(z, one) y = Where(p, one, m)"),
        "Where",
    ),
    # Elu
    "another above zero": (elu("c = Min(x, zero)", above="z"), "Where"),
    "numbers that are not below zero": (
        elu("p2 = Greater(x, minus) c = Where(p2, zero, x)", "float minus = {-1}"),
        "Exp",
    ),
    "expm1 of more rows": (
        graph(
            "float[4] x, bool[2,4] p",
            [ZERO, ONE, TWO, HALF],
            f"w = Min(x, zero) {EXPM1} tt = Mul(t, two) r = Sub(one, t) near = Div(tt, r) y = Where(p, far, near)",
        ),
        "Where",
    ),
    "expm1 above zero": (
        graph(
            X,
            [ZERO, ONE, TWO, HALF, "float minus = {-2}"],
            f"m = Min(x, zero) w = Mul(m, minus) {EXPM1} tt = Mul(t, two) r = Sub(one, t) near = Div(tt, r)",
            "y = Where(big, far, near)",
        ),
        "Where",
    ),
    **{
        f"expm1 with {what}": (
            graph(
                BOTH,
                [ZERO, ONE, TWO, HALF],
                f"w = Min(x, zero) {EXPM1} tt = {double} r = {rest} near = Div(tt, r) y = Where(big, far, near)",
            ),
            "Where",
        )
        for what, double, rest in (
            ("half a numerator", "Mul(t, half)", "Sub(one, t)"),
            ("another one", "Mul(t, two)", "Sub(two, t)"),
            ("another divisor", "Mul(t, two)", "Sub(one, h)"),
        )
    },
    # Gelu
    "gelu of more rows": (
        graph(
            X,
            ["float root = {0.70710678}", ONE, HALVES],
            "s = Mul(x, root) c = Erf(s) g = Add(c, one)",
            "h = Mul(x, g) y = Mul(h, rows)",
        ),
        "Erf",
    ),
    "gelu weighed by another": (
        graph(
            BOTH,
            ["float root = {0.70710678}", HALF],
            "s = Mul(x, root) c = Erf(s) xc = Mul(x, c) k = Mul(xc, z) t = Add(x, k) y = Mul(t, half)",
        ),
        "Erf",
    ),
    "a sum of a number and its double": (
        graph(X, [HALF, TWO], "k = Mul(x, two) t = Add(x, k) y = Mul(t, half)"),
        "Add",
    ),
    "gelu of a line in tanh": (
        graph(
            X,
            ["float c = {0.79788456}", ONE, HALF],
            "s = Mul(x, c) t = Tanh(s) g = Add(t, one) h = Mul(x, g)",
            "y = Mul(h, half)",
        ),
        "Tanh",
    ),
    "gelu of a square more": (
        graph(
            X,
            ["float c = {0.79788456}", "float d = {0.044715}", ONE, HALF],
            "k = Mul(x, d) r = Add(k, one) xx = Mul(x, x) s0 = Mul(xx, c) s = Mul(s0, r) t = Tanh(s) g = Add(t, one)",
            "h = Mul(x, g) y = Mul(h, half)",
        ),
        "Tanh",
    ),
    # HardSigmoid
    "a line with one end": (graph(X, [HALF, ZERO], "l = Add(x, half) y = Clip(l, zero)"), "Clip"),
    "a line between zero and zero": (graph(X, [HALF, ZERO], "l = Add(x, half) y = Clip(l, zero, zero)"), "Clip"),
    # LeakyRelu, Relu
    "another above a slope": (
        graph(BOTH, [ZERO, HALF], "p = GreaterOrEqual(x, zero) l = Mul(x, half) y = Where(p, z, l)"),
        "Where",
    ),
    "a slope below one": (
        graph(X, [ONE, HALF], "p = GreaterOrEqual(x, one) w = Where(p, one, half) y = Mul(x, w)"),
        "Where",
    ),
    "a maximum with a line and another": (graph(BOTH, [HALF], "l = Mul(x, half) y = Max(x, l, z)"), "Max"),
    "a maximum with zero and another": (graph(BOTH, [ZERO], "y = Max(x, zero, z)"), "Max"),
    # SiLU
    "silu of more rows": (
        graph(X, [TWO_ROWS], "n = Neg(x) e = Exp(n) t = Add(e, rows) y = Div(x, t)"),
        "Exp",
    ),
    # Softplus
    "a guard that compares two": (
        graph(BOTH, [ZERO], "q = Equal(x, z) p = Not(q) r = Relu(x) y0 = Add(r, z) y = Where(p, x, y0)"),
        "Where",
    ),
    "log1p with another limit": (log1p(one="two"), "Where"),
    "log1p with another test": (log1p(nothing="one"), "Where"),
    "log1p over another": (log1p(least="m = Min(other, large)"), "Where"),
    "log1p over the least of three": (log1p(least="m = Min(d, large, two)"), "Where"),
    "log1p below a bound": (log1p(large="0.5"), "Where"),
    "log1p of more rows": (log1p(one="rows"), "Where"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others(name):
    text, operator = OTHERS[name]
    assert operator in fused(text)


def test_the_graphs_are_near():
    assert fused(elu("c = Min(x, zero)")) == ["Elu"]
    assert "Where" not in fused(log1p())


def test_what_is_zero_for_nan():
    text = elu("p2 = LessOrEqual(x, zero) c = Where(p2, x, zero)")
    assert "Exp" in fused(text, x=np.array([np.nan, -1, 0, 2], np.float32))


def test_no_number_added_to_a_line():
    text = graph(X, ["float nan = {nan}", ZERO, ONE], "l = Add(x, nan) y = Clip(l, zero, one)")
    assert "HardSigmoid" not in fused(text)


A, V = "int64[1] a = {1}", "float[4,3] v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 3, 4}"
E = "m = ReduceMax(x, a) d = Sub(x, m) e = Exp(d)"
OF_SOFTMAX = {
    "weights with the sum of others": graph(
        "float[2,4] x, float[2,4] z",
        [A, V],
        *(E, "n = ReduceMax(z, a) f = Sub(z, n) o = Exp(f) s = ReduceSum(o, a) p = MatMul(e, v) y = Div(p, s)"),
    ),
    "weights of one row": graph(
        "float[4] x", ["int64[1] a = {0}", V], E, "s = ReduceSum(e, a) p = MatMul(e, v) y = Div(p, s)"
    ),
    "weights of two axes": graph(
        "float[2,3,4] x, float[12,3] v",
        ["int64[1] a = {2}", "int64[2] to = {2, 12}"],
        *(E, "s = ReduceSum <keepdims=0> (e, a) r = Reshape(e, to) p = MatMul(r, v) y = Div(p, s)"),
    ),
    "a sum along columns": graph("float[3,3] x", [A], E, "s = ReduceSum <keepdims=0> (e, a) y = Div(e, s)"),
    "a sum along the other axis": graph(
        "float[3,3] x",
        ["int64[1] a = {0}", "int64[1] b = {1}"],
        *(E, "s = ReduceSum(e, b) t = Transpose <perm=[1,0]> (s) y = Div(e, t)"),
    ),
    "a logarithm less another number": graph(
        "float[2,4] x", [A, HALF], E, "s = ReduceSum(e, a) l = Log(s) o = Sub(x, half) y = Sub(o, l)"
    ),
    "another less its logarithm": graph(
        "float[2,4] x, float[2,4] z", [A], E, "s = ReduceSum(e, a) l = Log(s) t = Add(m, l) y = Sub(z, t)"
    ),
    "a logarithm and another maximum": graph(
        "float[2,4] x, float[2,1] z", [A], E, "s = ReduceSum(e, a) l = Log(s) t = Add(z, l) y = Sub(x, t)"
    ),
}


@pytest.mark.parametrize("name", OF_SOFTMAX)
def test_no_softmax(name):
    assert not {"Softmax", "LogSoftmax"} & set(fused(OF_SOFTMAX[name]))


def test_softmax_behind_a_product():
    text = graph("float[2,4] x", [A, V], E, "s = ReduceSum(e, a) p = MatMul(e, v) y = Div(p, s)")
    assert fused(text) == ["Softmax", "MatMul"]
