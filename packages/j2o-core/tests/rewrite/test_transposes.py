"""Arithmetic has its axes in the order that takes the fewest Transposes; where others are needed, they stay."""

import itertools
import random

import pytest

from .test_near_misses import rewritten


def graph(nodes, *, dtype="float", shape="2,4,5,3", results="y", more=""):
    """Values with channels last; u and v are behind convolutions that have them first."""
    return (
        f"g ({dtype}[{shape}] x, {dtype}[2,3,4,5] c, {dtype}[2,3,4,5] d, {dtype}[3] b, {dtype}[2,7] t) => ({results})"
        f"<int64[2] sides = {{1,2}}, int64[1] last = {{-1}}, int64[4] column = {{2,1,1,3}}, {dtype}[3] w = {{1,2,3}},"
        f"float[4] scales = {{1,2,2,1}}, int64[8] pads = {{0,1,0,0,0,0,2,0}}, int64[1] one = {{1}}, "
        f"int64[1] two = {{2}}, {dtype} half = {{2}}, int64[3] places = {{2,0,1}}, "
        f"int64[8] twice = {{0,0,1,1,2,2,3,3}}, int64[3] all = {{0,1,2}}, int64[8] others = {{0,0,1,1,2,3,3,3}}{more}> "
        f"{{ u = Transpose <perm=[0,2,3,1]> (c) v = Transpose <perm=[0,2,3,1]> (d) {nodes} }}"
    )


OUT = " q = Transpose <perm=[0,3,1,2]> (r) y = Softmax <axis=1> (q)"
BOTH = "p = Sigmoid(u) s = Tanh(u) "
MOVED = {
    "value with two readers": (BOTH + "r = Div(p, s)", ["Sigmoid", "Tanh", "Div"]),
    "residual": (
        "p = Relu(u) k = Transpose <perm=[0,3,1,2]> (p) h = Softmax <axis=1> (k)"
        "m = Transpose <perm=[0,2,3,1]> (h) r = Add(u, m)",
        ["Relu", "Softmax", "Add"],
    ),
    "number and weight of each channel": (BOTH + "m = Mul(p, w) k = Add(m, half) r = Sub(k, s)", None),
    "joined": (BOTH + "r = Concat <axis=-1> (p, v, s)", ["Sigmoid", "Tanh", "Concat"]),
    "split": (BOTH + "m = Concat <axis=3> (p, s) k, l = Split <axis=3, num_outputs=2> (m) r = Sub(k, l)", None),
    "split along the first axis": (BOTH + "m = Add(p, s) k, l = Split <num_outputs=2> (m) r = Sub(k, l)", None),
    "mean that is kept": (BOTH + "m = ReduceMean <keepdims=1> (s, sides) r = Mul(p, m)", None),
    "norm": (BOTH + "m = ReduceMax <keepdims=1> (s, last) r = Mul(p, m)", None),
    "resized": (BOTH + 'm = Add(p, s) r = Resize <mode="nearest"> (m, , scales)', ["Sigmoid", "Tanh", "Add", "Resize"]),
    "padded": (BOTH + "m = Add(p, s) r = Pad(m, pads)", ["Sigmoid", "Tanh", "Add", "Pad"]),
    "cut": (BOTH + "m = Add(p, s) r = Slice(m, one, two, last)", ["Sigmoid", "Tanh", "Add", "Slice"]),
    "each row twice": (BOTH + "m = Add(p, s) r = Gather <axis=-3> (m, twice)", ["Sigmoid", "Tanh", "Add", "Resize"]),
    "each channel once": (BOTH + "m = Add(p, s) r = Gather <axis=3> (m, all)", None),
    "mean of one axis that is kept": (BOTH + "m = ReduceMean <keepdims=1> (s, one) r = Mul(p, m)", None),
    "chosen": (BOTH + "m = Less(p, s) r = Where(m, p, s)", ["Sigmoid", "Tanh", "Less", "Where"]),
    "number of each channel behind a Reshape": (
        BOTH + "n = ReduceSum <keepdims=0> (s, sides) e = Exp(n) m = Reshape(e, column) r = Mul(p, m)",
        None,
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_moved(name):
    nodes, expected = MOVED[name]
    found = rewritten(graph(nodes + OUT))
    assert "Transpose" not in found
    assert expected is None or found == [*expected, "Softmax"]


@pytest.mark.parametrize("results", ["y", "y, p"])
def test_a_result_of_the_graph_keeps_its_order(results):
    nodes = "p = Sigmoid(u) s = Tanh(u) r = Mul(p, s) m = Add(r, v)" + OUT.replace("(r)", "(m)")
    assert rewritten(graph(nodes, results=results)).count("Transpose") == results.count("p")


STAYS = {
    "another order is read": (BOTH + "r = Mul(p, s) y = Softmax(r)", 1),
    "another reader of the operand": ("p = Sigmoid(u) r = Mul(p, x) h = Softmax(u) y = Mul(r, h)", 1),
    "as many Transposes as before": ("r = Add(u, x) y = Softmax(r)", 1),
    "order that is no inverse": (BOTH + "r = Mul(p, s) q = Transpose <perm=[3,0,1,2]> (r) y = Softmax(q)", 2),
    "rows of other numbers": ("r = Gather <axis=1> (u, others) q = Add(r, r) y = Softmax(q)", 1),
    "each row twice, more of them": ("r = Gather <axis=2> (u, twice) q = Add(r, r) y = Softmax(q)", 1),
    "gathered places": (BOTH + "r = Mul(p, s) q = Gather <axis=3> (r, places) y = Softmax <axis=1> (q)", 1),
    "largest places": (
        "p = ArgMax <axis=3> (u) s = Tanh(u) r = Cast <to=1> (p) q = Mul(r, s) y = Softmax(q)",
        1,
    ),
}


@pytest.mark.parametrize("name", STAYS)
def test_kept(name):
    nodes, transposes = STAYS[name]
    assert rewritten(graph(nodes)).count("Transpose") == transposes


def test_reduction_of_a_constant_has_no_axes_to_move():
    cube = ", float[1,2,3] cube = {1,2,3,4,5,6}"
    nodes = BOTH + "n = ReduceSum <keepdims=0> (cube, sides) r = Mul(p, s)"
    found = rewritten(graph(nodes + OUT, results="y, n", more=cube))
    assert sorted(found) == ["Mul", "ReduceSum", "Sigmoid", "Softmax", "Tanh"]


@pytest.mark.parametrize(
    ("size", "places"),
    [("0", "int64[0] k = {}"), ("N", "int64[8] k = {0,0,1,1,2,2,3,3}"), ("4", "int64[4,1] k = {0,1,2,3}")],
)
def test_places_of_an_axis_of_no_or_unknown_size_and_in_rows(size, places):
    """None of them is each place of the axis some times over, which a Resize would be."""
    nodes = "u = Transpose <perm=[0,2,3,1]> (c) p = Sigmoid(u) s = Tanh(u) m = Add(p, s) r = Gather <axis=1> (m, k)"
    found = rewritten(f"g (float[2,3,{size},5] c) => (y) <{places}> {{ {nodes} y = Neg(r) }}")
    assert "Gather" in found


def test_half_precision_is_left_alone():
    nodes = BOTH + "r = Div(p, s)" + OUT
    assert "Transpose" in rewritten(graph(nodes, dtype="float16"))


def test_reduction_that_leaves_axes_in_another_order():
    """[2, 4, 5, 3] without its second axis is [2, 5, 3], and [2, 3, 4, 5] is [2, 3, 5]."""
    nodes = BOTH + "h = ReduceSum <keepdims=0> (s, one) r = Mul(p, v) q = Transpose <perm=[0,3,1,2]> (r)"
    found = rewritten(graph(nodes + " k = Softmax <axis=1> (q) y = Identity(k) z = Softmax(h)", results="y, z"))
    assert "Transpose" in found


def test_a_reader_in_a_branch():
    """A Transpose in a branch is no value outside; it may be the branch's result."""
    branch = "b () => (float[2,3,4,5] i) { i = Transpose <perm=[0,3,1,2]> (p) }"
    other = "e () => (float[2,3,4,5] j) { j = Neg(c) }"
    nodes = f"{BOTH} m = Mul(p, s) k = Cast <to=9> (half) z = If <then_branch = {branch}, else_branch = {other}> (k)"
    assert "Transpose" in rewritten(graph(nodes + OUT.replace("(r)", "(m)"), results="y, z"))


OPERATORS = {
    "Add": "{0} = Add({1}, {2})",
    "Where": "c{0} = Less({1}, {2}) {0} = Where(c{0}, {2}, {1})",
    "Relu": "{0} = Relu({1})",
    "channels": "{0} = Mul({1}, w)",
    "gate": "g{0} = ReduceMax <keepdims=1> ({1}, sides) {0} = Sub({2}, g{0})",
    "last": "g{0} = ReduceSum <keepdims=1> ({1}, last) {0} = Add(g{0}, {2})",
    "join": "j{0} = Concat <axis=3> ({1}, {2}) {0} = Gather <axis=3> (j{0}, places)",
    "split": "j{0} = Concat <axis=1> ({1}, {2}) {0}, k{0} = Split <axis=1, num_outputs=2> (j{0})",
    "there and back": "f{0} = Transpose <perm=[0,3,1,2]> ({1}) h{0} = Softmax <axis=1> (f{0}) "
    "s{0} = Add(h{0}, c) {0} = Transpose <perm=[0,2,3,1]> (s{0})",
    "another order": "f{0} = Transpose <perm=[3,1,0,2]> ({1}) h{0} = Neg(f{0}) {0} = Transpose <perm=[2,1,3,0]> (h{0})",
    "anchor": "{0} = Softmax <axis=3> ({1})",
}


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_keep_their_numbers(seed):
    """`rewritten` compares the numbers; no graph has more Transposes than before."""
    draw = random.Random(seed)
    known, nodes = ["u", "v", "x"], []
    for index in range(draw.randrange(3, 12)):
        nodes.append(OPERATORS[draw.choice(list(OPERATORS))].format(f"n{index}", *draw.choices(known[-4:], k=2)))
        known.append(f"n{index}")
    results = [known[-1], draw.choice(known[3:])]
    ends = " ".join(f"{name} = Neg({value})" for name, value in zip("yz", results, strict=True))
    text = " ".join([*nodes, ends])
    assert rewritten(graph(text, results="y, z")).count("Transpose") <= 2 + text.count("Transpose")


def test_symbolic_sizes_and_all_orders():
    for perm in itertools.permutations(range(3)):
        back = [perm.index(axis) for axis in range(3)]
        text = (
            f"g (float[N,M,3] c, float[N,M,3] d) => (y) {{ u = Transpose <perm={list(perm)}> (c) "
            f"v = Transpose <perm={list(perm)}> (d) p = Exp(u) s = Sub(v, u) r = Concat <axis=0> (p, s, v) "
            f"y = Transpose <perm={back}> (r) }}"
        )
        assert rewritten(text) == ["Exp", "Sub", "Concat"]
