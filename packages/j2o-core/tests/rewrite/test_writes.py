"""Rows that are written at known places: by one operator, and not read back; other writes stay."""

import pytest

from .test_near_misses import rewritten


def graph(nodes, *, rows="5", more=""):
    return (
        f"g (float[{rows},2] x, float[1,2] u, float[1,2] v{more}) => (y) <int64[1,1] i = {{3}}, int64[1,1] j = {{1}},"
        "int64[1,1] k = {0}, int64[2,1] again = {3,3}, int64[1] s0 = {0}, int64[1] s1 = {1}, int64[1] s2 = {2},"
        f"int64[1] s3 = {{3}}, int64[1] s4 = {{4}}> {{ {nodes} }}"
    )


WRITES = {
    "two rows": (graph("a = ScatterND(x, i, u) y = ScatterND(a, j, v)"), ["Concat", "ScatterND"]),
    "three rows": (
        graph("a = ScatterND(x, i, u) b = ScatterND(a, j, v) y = ScatterND(b, k, u)"),
        ["Concat", "ScatterND"],
    ),
    "elements": (
        """g (float[5] x, float[1] u, float[1] v) => (y) <int64[1] i = {3}, int64[1] j = {1}>
        { a = ScatterElements(x, i, u) y = ScatterElements(a, j, v) }""",
        ["Concat", "ScatterElements"],
    ),
    "a row that is read": (graph("a = ScatterND(x, i, u) y = Slice(a, s3, s4, s0)"), ["Identity"]),
    "another row that is read": (graph("a = ScatterND(x, i, u) y = Slice(a, s1, s3, s0)"), ["Slice"]),
    "one row": (graph("y = ScatterND(x, i, u)"), ["ScatterND"]),
    "rows that are read with others": (
        graph("a = ScatterND(x, i, u) y = Slice(a, s2, s4, s0)"),
        ["ScatterND", "Slice"],
    ),
    "columns that are read": (graph("a = ScatterND(x, j, u) y = Slice(a, s1, s2, s1)"), ["ScatterND", "Slice"]),
    "a row that is added": (
        graph('a = ScatterND <reduction="add"> (x, i, u) y = Slice(a, s3, s4, s0)'),
        ["ScatterND", "Slice"],
    ),
    "a row that is written twice": (
        graph("a = ScatterND(x, again, w) y = ScatterND(a, j, v)", more=", float[2,2] w"),
        ["ScatterND", "ScatterND"],
    ),
    "symbolic rows": (
        graph("a = ScatterND(x, i, u) y = ScatterND(a, j, v)", rows="N"),
        ["ScatterND", "ScatterND"],
    ),
    "unknown rows": (
        graph("o = other.Op(x) a = ScatterND(o, i, u) y = ScatterND(a, j, v)"),
        ["Op", "ScatterND", "ScatterND"],
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes(name):
    text, expected = WRITES[name]
    assert rewritten(text) == expected
