"""Comparisons and limits that the ranges of their operands decide; the others stay."""

import pytest

from .test_near_misses import rewritten


def graph(nodes):
    """`b` has bytes from 0 to 255, `c` numbers from 0 to 1."""
    return f"""g (uint8[3] u, float[3] x, int32[3] i) => (y)
        <int32 high = {{255}}, int32 middle = {{7}}, int32 zero = {{0}}, int32 less = {{-1}}, float one = {{1}},
         float none = {{0}}, float minus = {{-0.0}}, float half = {{0.5}}, float below = {{-1.0}},
         int32[2,3] rows = {{-1,-1,-1,-1,-1,-1}}>
        {{ b = Cast <to=6> (u) c = Softmax(x) {nodes} }}"""


# name: (nodes, operators afterwards)
GRAPHS = {
    "a limit that is never reached": ("y = Max(b, zero)", ["Cast"]),
    "a limit on the left": ("y = Min(high, b)", ["Cast"]),
    "two limits": ("y = Clip(b, less, high)", ["Cast"]),
    "a lower limit alone": ("y = Clip(b, zero)", ["Cast"]),
    "an upper limit alone": ("y = Clip(b, , high)", ["Cast"]),
    "no limit": ("y = Clip(b)", ["Cast"]),
    "limits of floats": ("y = Clip(c, none, one)", ["Softmax"]),
    "limits of a kernel that goes beyond 1": ("d = Tanh(x) y = Clip(d, below, one)", ["Tanh", "Clip"]),
    "an absolute value": ("y = Abs(b)", ["Cast"]),
    "an absolute value of a float": ("y = Abs(c)", ["Softmax"]),
    "a comparison": ("k = Less(b, zero) y = Where(k, i, b)", ["Cast"]),
    "a comparison that is true": ("k = GreaterOrEqual(b, zero) y = Where(k, i, b)", ["Identity"]),
    "a limit that is reached": ("y = Max(b, middle)", ["Cast", "Max"]),
    "an upper limit that is reached": ("y = Clip(b, zero, middle)", ["Cast", "Clip"]),
    "a lower limit of what is larger": ("y = Clip(b, high)", ["Cast", "Clip"]),
    "a limit of any number": ("y = Max(i, zero)", ["Max"]),
    "limits of one another": ("y = Max(b, i)", ["Cast", "Max"]),
    "of three": ("y = Max(b, zero, less)", ["Cast", "Max"]),
    "a limit with more axes": ("y = Max(b, rows)", ["Cast", "Max"]),
    "a limit of floats that is reached": ("y = Max(c, half)", ["Softmax", "Max"]),
    "the negative zero": ("y = Min(c, minus)", ["Softmax", "Min"]),
    "a limit that only zero reaches": ("d = Sub(c, one) y = Min(d, minus)", ["Softmax", "Sub", "Min"]),
    "zeros of a sign": ("a = Mul(x, none) d = Clip(a, minus, one) y = Max(d, none)", ["Mul", "Clip", "Max"]),
    "an absolute value of what may be a little less than 0": (
        "s = Sigmoid(x) d = Sub(one, s) y = Abs(d)",
        ["Sigmoid", "Sub", "Abs"],
    ),
    "an absolute value of any number": ("y = Abs(i)", ["Abs"]),
    "a comparison that is open": ("k = Less(b, middle) y = Where(k, i, b)", ["Cast", "Less", "Where"]),
    "a comparison of floats, which may be NaN": ("k = Less(c, none) y = Where(k, x, c)", ["Softmax", "Less", "Where"]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_limits(name):
    nodes, expected = GRAPHS[name]
    assert rewritten(graph(nodes)) == expected
