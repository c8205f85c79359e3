"""Elements that a constant mask chooses: of one operand, taken from it; of both, or by other masks, as they were."""

import pytest

from .test_near_misses import rewritten

INPUTS = "float[2,2] x, float[1,2] row, float[3,2] long, float[S,2] many, bool[2,2] unknown"
CONSTANTS = """
    bool[2,2] m = {0,1,0,0}, bool[2,2] n = {0,1,1,0}, bool[2,2] upper = {1,1,0,1}, bool[2] few = {0,1},
    float z = {0}, float one = {1}, float minus = {-0.0}, float[2,2] zeros = {0,0,0,0},
    float[2,2] mixed = {0,-0.0,0,0}, float[2,2] numbers = {1,2,3,4}, int64[1] s0 = {0}, int64[1] s1 = {1},
    int64[1] s2 = {2}, int64[1] s4 = {4}, int64[1] flat = {4}, int64[2] column = {4,1}, int64[2] picks = {3,2},
    int64[2,2] diagonal = {0,0,1,1}, int64[2,2] mixture = {0,0,0,1}, int64[2,1] rows = {1,1}, int64 last = {-1}"""


def graph(nodes):
    return f"g ({INPUTS}) => (y) <{CONSTANTS}> {{ {nodes} }}"


MASKS = {
    "a row": (graph("w = Where(m, z, x) y = Slice(w, s1, s2, s0)"), ["Slice"]),
    "a row of one that is read elsewhere": (
        graph("w = Where(m, z, x) s = Slice(w, s1, s2, s0) y = Concat <axis=0> (w, s)"),
        ["Where", "Slice", "Concat"],
    ),
    "a row of the other operand": (graph("w = Where(upper, x, z) y = Slice(w, s0, s1, s0)"), ["Slice"]),
    "elements that are constants": (graph("w = Where(upper, numbers, x) y = Slice(w, s0, s1, s0)"), ["Identity"]),
    "a row of both": (graph("w = Where(m, z, x) y = Slice(w, s0, s1, s0)"), ["Where", "Slice"]),
    "a row by an unknown mask": (graph("w = Where(unknown, z, x) y = Slice(w, s1, s2, s0)"), ["Where", "Slice"]),
    "a mask that is broadcast": (graph("w = Where(few, z, x) y = Slice(w, s0, s1, s1)"), ["Slice"]),
    "an operand that is broadcast": (graph("w = Where(m, z, row) y = Slice(w, s1, s2, s0)"), ["Where", "Slice"]),
    "symbolic rows": (graph("w = Where(few, z, many) y = Slice(w, s0, s1, s1)"), ["Where", "Slice"]),
    "an operand of another length": (
        graph("w = Where(few, z, long) y = Slice(w, s0, s1, s1)"),
        ["Slice"],
    ),
    "a diagonal": (graph("w = Where(m, z, x) y = GatherND(w, diagonal)"), ["GatherND"]),
    "elements of both": (graph("w = Where(m, z, x) y = GatherND(w, mixture)"), ["Where", "GatherND"]),
    "elements in rows that run along": (
        graph("w = Where(m, z, x) y = GatherND <batch_dims=1> (w, rows)"),
        ["Where", "GatherND"],
    ),
    "the last row": (graph("w = Where(m, z, x) y = Gather(w, last)"), ["Gather"]),
    "the last column": (graph("w = Where(m, z, x) y = Gather <axis=1> (w, last)"), ["Where", "Gather"]),
    "a column of the transposed": (
        graph("w = Where(m, z, x) t = Transpose <perm=[1,0]> (w) y = Slice(t, s1, s2, s1)"),
        ["Slice", "Reshape"],
    ),
    "two parts of the elements in a row": (
        graph(
            "w = Where(m, z, x) f = Reshape(w, flat) r = Reshape(f, column) a = Slice(r, s0, s1, s0)"
            "b = Slice(r, s2, s4, s0) y = Concat <axis=0> (b, a)"
        ),
        ["Reshape", "Split", "Concat"],
    ),
    "picks of the elements in a row": (
        graph("w = Where(m, z, x) f = Reshape(w, flat) y = Gather(f, picks)"),
        ["Reshape", "Gather"],
    ),
    "filled twice": (graph("w = Where(m, z, x) y = Where(n, zeros, w)"), ["Where"]),
    "filled twice at the same places": (graph("w = Where(n, z, x) v = Where(m, z, w) y = Neg(v)"), ["Where", "Neg"]),
    "filled twice, in both operands": (graph("w = Where(upper, x, z) y = Where(m, z, w)"), ["Where"]),
    "filled twice, and made larger": (graph("w = Where(few, z, row) y = Where(m, z, w)"), ["Where"]),
    "filled with two numbers": (graph("w = Where(m, z, x) y = Where(n, one, w)"), ["Where", "Where"]),
    "filled with two zeros": (graph("w = Where(m, z, x) y = Where(n, minus, w)"), ["Where", "Where"]),
    "filled with zeros of both signs": (graph("w = Where(m, z, x) y = Where(n, mixed, w)"), ["Where", "Where"]),
    "filled by an unknown mask": (graph("w = Where(unknown, z, x) y = Where(n, z, w)"), ["Where", "Where"]),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    text, expected = MASKS[name]
    assert rewritten(text) == expected
