"""Scans of gated cells are LSTM, GRU and RNN, with JAX's numbers; what differs in one edge is not taken for one."""

import itertools
import os
import random

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import Spec, check

from ..near_misses import near_misses

OPERATORS = ("LSTM", "GRU", "RNN", "Scan")
ITEM, SIZE, LENGTH = 3, 4, 70
_COUNT = int(os.environ.get("J2O_EXAMPLES") or 12)
RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def recurrent(program):
    return [node.op_type for node in program.model.graph if node.op_type in OPERATORS]


def weights(gates):
    return {
        "w": numbers(ITEM, gates * SIZE),
        "r": numbers(SIZE, gates * SIZE) * np.float32(0.5),
        "b": numbers(gates * SIZE),
        "c": numbers(gates * SIZE),
    }


def part(array, place):
    return array[..., place * SIZE : (place + 1) * SIZE]


def sums(p, x, h, bias=True, joined=True):
    """The sums in front of the gates, by one product or one for each."""
    if joined:
        total = jnp.concatenate([x, h], -1) @ jnp.concatenate([p["w"], p["r"]]) + (p["b"] if bias else 0)
        return jnp.split(total, total.shape[-1] // SIZE, -1)
    gates = p["w"].shape[-1] // SIZE
    total = [x @ part(p["w"], i) + (h @ part(p["r"], i) + part(p["b"], i) * bias) for i in range(gates)]
    return total


def lstm(p, order=(0, 1, 2, 3), **how):
    def step(carry, x):
        c, h = carry
        gates = sums(p, x, h, **how)
        i, o, f, g = (gates[place] for place in order)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    return step


@pytest.mark.parametrize("seen", ["iof", "i", "o", "f", "number"])
@pytest.mark.parametrize(("rows", "given"), [((), False), ((5,), True)])
def test_lstm_with_peepholes(seen, rows, given):
    p = weights(4)

    def fn(c, h, xs, p=p):
        def step(carry, x):
            c, h = carry
            i, o, f, g = sums(p, x, h)
            holes = {gate: part(p["c"], place) if gate in seen else 0 for place, gate in enumerate("iof")}
            before, forget = (0.3, 0.3) if seen == "number" else (holes["i"], holes["f"])
            c_new = jax.nn.sigmoid(f + forget * c) * c + jax.nn.sigmoid(before * c + i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o + holes["o"] * c_new) * jnp.tanh(c_new)
            return (c_new, h), h

        return lax.scan(step, (c, h), xs)

    arguments = [state(*rows), state(*rows), sequence(*rows, length=9), *([p] if given else [])]
    (node,) = (node for node in check(fn, *arguments, opsets=(21,)).model.graph if node.op_type in OPERATORS)
    assert node.op_type == "LSTM"
    assert len(node.inputs) == 8


MIXTURES = {
    "(1 - z) * n + z * h": lambda z, n, h: (1 - z) * n + z * h,
    "z * h + n * (1 - z)": lambda z, n, h: z * h + n * (1 - z),
    "n + z * (h - n)": lambda z, n, h: n + z * (h - n),
    "(1 - z) * h + z * n": lambda z, n, h: (1 - z) * h + z * n,
    "h + (n - h) * z": lambda z, n, h: h + (n - h) * z,
}


def gru(p, mixture, order=(0, 1, 2), before=True, bias=True):
    z, r, n = order

    def step(h, x):
        def gate(i):
            return x @ part(p["w"], i) + part(p["b"], i) + h @ part(p["r"], i)

        reset = jax.nn.sigmoid(gate(r))
        new = x @ part(p["w"], n)
        if before:
            product = h @ part(p["r"], n)
            new = new + reset * (product + part(p["c"], n) if bias else product)
        else:
            new = new + (reset * h) @ part(p["r"], n) + (part(p["c"], n) if bias else 0)
        h = MIXTURES[mixture](jax.nn.sigmoid(gate(z)), jnp.tanh(new), h)
        return h, h

    return step


def rnn(p, activation=jnp.tanh):
    def step(h, x):
        h = activation(x @ p["w"] + h @ p["r"] + p["b"])
        return h, h

    return step


def sequence(*rows, length=LENGTH):
    return Spec((length, *rows, ITEM))


def state(*rows):
    return Spec((*rows, SIZE))


@pytest.mark.parametrize("order", random.Random(0).sample(list(itertools.permutations(range(4))), 4))
@pytest.mark.parametrize(("joined", "bias"), [(True, False), (False, True)])
def test_lstm_of_gates_in_any_order(order, joined, bias):
    step = lstm(weights(4), order, joined=joined, bias=bias)
    program = check(lambda c, h, xs: lax.scan(step, (c, h), xs), state(5), state(5), sequence(5), opsets=(21,))
    assert recurrent(program) == ["LSTM"]


@pytest.mark.parametrize(
    ("mixture", "before", "bias"),
    [
        *((mixture, True, True) for mixture in MIXTURES),
        ("(1 - z) * n + z * h", True, False),
        ("(1 - z) * n + z * h", False, True),
        ("(1 - z) * h + z * n", False, False),
    ],
)
def test_gru_of_either_reset_and_either_side_of_its_update_gate(mixture, before, bias):
    step = gru(weights(3), mixture, (2, 0, 1), before, bias)
    program = check(lambda h, xs: lax.scan(step, h, xs), state(5), sequence(5), opsets=(21,))
    assert recurrent(program) == ["GRU"]
    (node,) = (node for node in program.model.graph if node.op_type == "GRU")
    assert ("linear_before_reset" in node.attributes) == before


@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.relu])
@pytest.mark.parametrize("opset", [18, 26])
def test_rnn(activation, opset):
    step = rnn({**weights(1), "r": numbers(SIZE, SIZE) * np.float32(0.1)}, activation)
    program = check(lambda h, xs: lax.scan(step, h, xs), state(2), sequence(2), opsets=(opset,))
    assert recurrent(program) == ["RNN"]


CELLS = {
    "LSTM": (lstm, weights(4), 2),
    "GRU": (lambda p: gru(p, "(1 - z) * n + z * h"), weights(3), 1),
    "RNN": (rnn, weights(1), 1),
}


@pytest.mark.parametrize("op_type", CELLS)
@pytest.mark.parametrize(
    ("rows", "length", "reverse", "given"),
    [
        ((), LENGTH, True, "both"),
        ((1,), "T", False, "sequence"),
        ((5,), "T", True, "states"),
        (("B",), LENGTH, False, "both"),
    ],
)
def test_rows_directions_and_results(op_type, rows, length, reverse, given):
    cell, p, states = CELLS[op_type]

    def fn(xs, *carry):
        carry = carry if states == 2 else carry[0]
        carry, ys = lax.scan(cell(p), carry, xs, reverse=reverse)
        return {"states": carry, "sequence": ys, "both": (carry, ys)}[given]

    program = check(fn, sequence(*rows, length=length), *[state(*rows)] * states, opsets=(21,))
    assert recurrent(program) == ["Scan" if op_type == "RNN" and rows in ((5,), ("B",)) else op_type]


def test_a_stacked_result_without_a_use_may_be_anything():
    step = lstm(weights(4))

    def fn(xs):
        zeros = jnp.zeros((5, SIZE))
        return lax.scan(lambda carry, x: (step(carry, x)[0], carry[0] * 2), (zeros, zeros), xs)[0]

    assert recurrent(check(fn, sequence(5), opsets=(21,))) == ["LSTM"]


@pytest.mark.parametrize(("op_type", "rows"), [("RNN", 3), ("LSTM", 65), ("GRU", 65)])
def test_many_short_rows_stay_a_scan(op_type, rows):
    cell, p, states = CELLS[op_type]

    def fn(xs):
        zeros = jnp.zeros((rows, SIZE))
        return lax.scan(cell(p), (zeros,) * 2 if states == 2 else zeros, xs)[1]

    assert recurrent(to_onnx(fn, [sequence(rows)])) == ["Scan"]


@pytest.mark.parametrize("op_type", CELLS)
def test_sequences_that_may_be_empty(op_type):
    cell, p, states = CELLS[op_type]

    def fn(xs):
        zeros = jnp.zeros((2, SIZE))
        return lax.scan(cell(p), (zeros,) * 2 if states == 2 else zeros, xs)

    program = check(fn, sequence(2, length="T"), opsets=(21,), constraints=("T >= 0",), sizes=(0, 1, 3))
    assert recurrent(program) == []
    inner = [node.op_type for node in ir.traversal.RecursiveGraphIterator(program.model.graph)]
    assert op_type in inner


def test_rows_that_may_be_none_stay_a_scan():
    cell, p, _ = CELLS["GRU"]

    def fn(xs):
        return lax.scan(cell(p), jnp.zeros((xs.shape[1], SIZE)), xs)

    program = check(fn, sequence("B"), opsets=(21,), constraints=("B >= 0",), sizes=(0, 2))
    assert recurrent(program) == ["Scan"]


@pytest.mark.parametrize("op_type", CELLS)
def test_weights_that_are_inputs(op_type):
    cell, p, states = CELLS[op_type]
    names = sorted(p)

    def fn(xs, *arrays):
        zeros = jnp.zeros((2, SIZE))
        return lax.scan(cell(dict(zip(names, arrays, strict=True))), (zeros,) * 2 if states == 2 else zeros, xs)

    program = check(fn, sequence(2), *(Spec(p[name].shape) for name in names), opsets=(21,))
    assert recurrent(program) == [op_type]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("op_type", CELLS)
def test_cells_of_one_example_under_vmap(op_type, rows):
    cell, p, states = CELLS[op_type]

    def one(xs):
        zeros = jnp.zeros(SIZE)
        return lax.scan(cell(p), (zeros,) * 2 if states == 2 else zeros, xs)

    program = check(jax.vmap(one), Spec((rows, LENGTH, ITEM)), opsets=(21,))
    assert recurrent(program) == [op_type]


@pytest.mark.parametrize("rows", [1, 3, "B"])
@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_matrices_times_vectors_under_vmap(op_type, rows):
    """Matrices stand on the left, as in Equinox's cells, and gates are cut from a column of sums."""
    p = {name: value.T for name, value in weights(4 if op_type == "LSTM" else 3).items()}

    def lstm_step(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(p["w"] @ x + p["r"] @ h + p["b"], 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru_step(h, x):
        r, z, n = jnp.split(p["w"] @ x + p["b"], 3)
        hr, hz, hn = jnp.split(p["r"] @ h, 3)
        n = jnp.tanh(n + jax.nn.sigmoid(r + hr) * (hn + part(p["c"], 0)))
        h = n + jax.nn.sigmoid(z + hz) * (h - n)
        return h, h

    def one(xs):
        zeros = jnp.zeros(SIZE)
        return lax.scan(*((lstm_step, (zeros, zeros)) if op_type == "LSTM" else (gru_step, zeros)), xs)[1]

    program = check(jax.vmap(one), Spec((rows, LENGTH, ITEM)), opsets=(21,))
    assert recurrent(program) == [op_type]


def test_both_directions():
    cell, p, _ = CELLS["GRU"]
    other = weights(3)

    def fn(xs):
        zeros = jnp.zeros((5, SIZE))
        forth = lax.scan(cell(p), zeros, xs)[1]
        back = lax.scan(cell(other), zeros, xs, reverse=True)[1]
        return jnp.concatenate([forth, back], -1)

    program = check(fn, sequence(5), opsets=(21,))
    assert recurrent(program) == ["GRU", "GRU"]


@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_gates_far_from_zero(op_type):
    cell, p, states = CELLS[op_type]
    p = {**p, "r": p["r"] * 0}  # rounding of large numbers would be multiplied by it

    def fn(x, xs):
        return lax.scan(cell(p), (x, x) if states == 2 else x, xs)

    scale = np.float32([10, 1e3, 1e20, 1e36, 1e-20])[:, None]
    args = numbers(5, SIZE), np.sign(numbers(LENGTH, 5, ITEM)) * scale
    program = check(fn, state(5), sequence(5), args=args, opsets=(21,))
    assert recurrent(program) == [op_type]


@pytest.mark.parametrize("op_type", CELLS)
def test_not_a_number_stays_one_on_request(op_type):
    cell, p, states = CELLS[op_type]

    def fn(xs):
        zeros = jnp.zeros((2, SIZE))
        return lax.scan(cell(p), (zeros,) * 2 if states == 2 else zeros, xs)[1]

    xs = numbers(LENGTH, 2, ITEM)
    xs[3, 1] = np.nan
    xs[4, 0] = np.inf
    program = check(fn, sequence(2), args=(xs,), opsets=(21,), nonfinite="exact")
    assert recurrent(program) == ["RNN" if op_type == "RNN" else "Scan"]


@pytest.mark.parametrize("op_type", ["GRU", "RNN"])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_element_types_without_kernels_stay_a_scan(op_type, dtype):
    cell, p, _ = CELLS[op_type]

    def fn(h, xs):
        return lax.scan(cell({name: array.astype(dtype) for name, array in p.items()}), h, xs)

    with jax.enable_x64(dtype == "float64"):
        program = check(fn, Spec((2, SIZE), dtype), Spec((LENGTH, 2, ITEM), dtype), opsets=(21,))
        assert recurrent(program) == ["Scan"]


def hard(x):
    return jnp.clip(0.2 * x + 0.5, 0, 1)


def hard_gate(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    c = hard(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def clipped_state(p, c, h, x):
    (c, h), _ = lstm(p)((c, h), x)
    h = jnp.clip(h, -0.2, 0.2)
    return (c, h), h


def cells_given(p, c, h, x):
    (c, h), _ = lstm(p)((c, h), x)
    return (c, h), c


def state_before_given(p, c, h, x):
    return lstm(p)((c, h), x)[0], h


def coupled_gates(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    c = jax.nn.sigmoid(f) * c + (1 - jax.nn.sigmoid(i)) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def peephole_of_new_gate(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g + 0.3 * c)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def peephole_of_cell_before(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o + 0.3 * c) * jnp.tanh(new)
    return (new, h), h


def peephole_of_neighbours(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    c = jax.nn.sigmoid(f + 0.3 * c[..., ::-1]) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def peephole_twice(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    c = jax.nn.sigmoid(f + 0.3 * c + p["c"][:SIZE] * c) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def cell_before_in_output(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (new, h), h


def two_products_of_items(p, c, h, x):
    return lstm(p)((c, h), x + h[..., :ITEM])


def product_of_cell_before(p, c, h, x):
    i, o, f, g = sums(p, x, h)
    new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g + c @ part(p["r"], 0))
    h = jax.nn.sigmoid(o) * jnp.tanh(new)
    return (new, h), h


OTHERS = (
    hard_gate,
    clipped_state,
    cells_given,
    state_before_given,
    coupled_gates,
    peephole_of_new_gate,
    peephole_of_cell_before,
    peephole_of_neighbours,
    peephole_twice,
    cell_before_in_output,
    two_products_of_items,
    product_of_cell_before,
)


@pytest.mark.parametrize("step", OTHERS, ids=lambda step: step.__name__)
def test_other_cells_stay_a_scan(step):
    p = weights(4)

    def fn(c, h, xs):
        return lax.scan(lambda carry, x: step(p, *carry, x), (c, h), xs)

    program = check(fn, state(5), state(5), sequence(5), opsets=(21,))
    assert recurrent(program) == ["Scan"]


def mixed(z, n, h):
    return (1 - z) * n + z * h


OTHERS_OF_GRU = {
    "parts of two gates": lambda z, r, n, h, weighed: (1 - r) * jnp.tanh(n + r * weighed) + z * h,
    "parts that make two": lambda z, r, n, h, weighed: (2 - z) * jnp.tanh(n + r * weighed) + z * h,
    "the state twice": lambda z, r, n, h, weighed: mixed(z, jnp.tanh(weighed + n + r * weighed), h),
    "two resets": lambda z, r, n, h, weighed: mixed(z, jnp.tanh(n + r * weighed + z * weighed), h),
    "no reset": lambda z, r, n, h, weighed: mixed(z, jnp.tanh(n), h),
    "no item": lambda z, r, n, h, weighed: mixed(z, jnp.tanh(weighed + r * weighed), h),
    "a reset of two columns": lambda z, r, n, h, weighed: mixed(
        z, jnp.tanh(n + (jnp.concatenate([z, r], -1) * jnp.concatenate([h, weighed], -1))[..., SIZE:]), h
    ),
}


@pytest.mark.parametrize("name", OTHERS_OF_GRU)
def test_other_gated_states_stay_a_scan(name):
    p = weights(4)

    def step(h, x):
        z, r = (jax.nn.sigmoid(x @ part(p["w"], i) + h @ part(p["r"], i)) for i in range(2))
        h = OTHERS_OF_GRU[name](z, r, x @ part(p["w"], 2), h, h @ part(p["r"], 2))
        return h, h

    program = check(lambda h, xs: lax.scan(step, h, xs), state(5), sequence(5), opsets=(21,))
    assert recurrent(program) == ["Scan"]


@pytest.mark.parametrize("states", [0, 3])
def test_scans_of_no_state_and_of_three_stay_scans(states):
    p = weights(1)

    def fn(h, xs):
        def step(carry, x):
            h = jnp.tanh(x @ p["w"] + (carry[0] if states else x[..., :1]) @ p["r"][: SIZE if states else 1])
            return (h,) * states, h

        return lax.scan(step, (h,) * states, xs)

    program = check(fn, state(2), sequence(2), opsets=(21,))
    assert "RNN" not in recurrent(program)


ONE_COLUMN = {
    "of the sum": lambda w, r, b, h, x: (x @ w + h @ r)[..., :1] + b,
    "of the product of items": lambda w, r, b, h, x: (x @ w)[..., :1] + h @ r + b,
    "of the product of states": lambda w, r, b, h, x: x @ w + (h @ r)[..., :1] + b,
    "of the bias": lambda w, r, b, h, x: x @ w + h @ r + b[:1],
}


@pytest.mark.parametrize("spelling", ONE_COLUMN)
def test_one_column_that_is_broadcast(spelling):
    def fn(xs, h, *weights):
        def step(h, x):
            return (h := jnp.tanh(ONE_COLUMN[spelling](*weights, h, x))), h

        return lax.scan(step, h, xs)

    arrays = numbers(ITEM, SIZE), numbers(SIZE, SIZE), numbers(SIZE)
    expected = ["RNN" if spelling == "of the bias" else "Scan"]
    assert recurrent(check(lambda xs, h: fn(xs, h, *arrays), sequence(), state(), opsets=(21,))) == expected
    assert recurrent(check(fn, sequence(), state(), *arrays, opsets=(21,))) == expected


def test_states_of_symbolic_size_stay_a_scan():
    def fn(xs, h, w, r):
        return lax.scan(lambda h, x: ((h := jnp.tanh(x @ w + h @ r)), h), h, xs)

    specs = Spec((LENGTH, ITEM)), Spec(("H",)), Spec((ITEM, "H")), Spec(("H", "H"))
    assert recurrent(check(fn, *specs, opsets=(21,))) == ["Scan"]


def lstm_of_three(c, h, x):
    return lstm(CELLS["LSTM"][1], joined=False)((c, h), x)


def gru_of_two(h, x):
    return CELLS["GRU"][0](CELLS["GRU"][1])(h, x)


def late_gru(h, x):
    return gru(CELLS["GRU"][1], "h + (n - h) * z", before=False)(h, x)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "states"), [(lstm_of_three, 2), (gru_of_two, 1), (late_gru, 1)])
def test_near_misses(step, states):
    shapes = [(SIZE, SIZE)] * states + [(SIZE, ITEM)]
    changed = near_misses(step, *(np.zeros(shape, np.float32) for shape in shapes))
    nothing = changed.pop("nothing")
    # LSTM and GRU differ for NaN, which their documentation says.
    finite = sorted(what for what in changed if not what.endswith(("made inf", "made nan")))
    some = random.Random(1).sample(finite, min(_COUNT, len(finite)))
    programs = [nothing, *(changed[what] for what in some)]

    def fn(h, c, xs):
        def all_of(one):
            def body(carry, x):
                results = one(*carry, x)
                return tuple(results[:states]), results[states:]

            return lax.scan(body, (c, h)[-states:], xs)

        return [all_of(one) for one in programs]

    # One edge makes some of them chaotic: what is rounded otherwise grows with each turn.
    args = [numbers(SIZE, SIZE), numbers(SIZE, SIZE), numbers(14, SIZE, ITEM)]
    program = check(fn, *(Spec(array.shape) for array in args), args=tuple(args), opsets=(21,), rtol=1e-3)
    assert recurrent(program)[0] in ("LSTM", "GRU")
    assert "Scan" in recurrent(program)


def test_nothing_that_only_the_scan_read_is_left():
    cell, p, _ = CELLS["LSTM"]

    def fn(xs, w):
        zeros = jnp.zeros((5, SIZE))
        return lax.scan(cell({**p, "w": jnp.exp(w)}), (zeros, zeros), xs)[1]

    program = to_onnx(fn, [sequence(5), Spec((ITEM, 4 * SIZE))])
    operators = [node.op_type for node in program.model.graph]
    assert operators.count("LSTM") == 1
    assert "MatMul" not in operators
