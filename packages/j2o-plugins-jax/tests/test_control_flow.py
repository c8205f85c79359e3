"""cond, switch, while, fori, scan, map: values, and which ONNX operator they become."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core import to_onnx
from j2o_core.lower import _equations
from j2o_core.testing import Spec, check

ALL = (18, 21, 26)


def _loads(program):
    return [tensor for tensor in program.model.graph.initializers.values() if tensor.const_value.size > 50]


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_, np.float16])
def test_cond(dtype):
    def fn(p, x):
        return lax.cond(p, lambda x: (x, x[::-1]), lambda x: (x[::-1], x), x)

    for p in (True, False):
        args = (np.array(p), np.arange(3).astype(dtype))
        check(fn, Spec((), np.bool_), Spec((3,), dtype), args=args, contains=["If"], absent=["Cast"])


@pytest.mark.parametrize("branches", [1, 2, 3, 5])
def test_switch_clamps_its_index(branches):
    def fn(i, x):
        return lax.switch(i, [lambda x, k=k: (x + k, x * k) for k in range(branches)], x)

    runs = [(np.int32(i), np.ones((2, 3), np.float32)) for i in (-3, 0, 1, 2, 3, 4, 9)]
    check(fn, Spec((), np.int32), Spec(("B", 3)), args=runs, opsets=(18, 21))


def test_known_branch_is_inlined():
    check(lambda x: lax.switch(1, [jnp.sin, jnp.cos], x), Spec((3,)), absent=["If", "Sin"], contains=["Cos"])


def test_branch_reads_outer_weights_in_place():
    w = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)

    def fn(p, x):
        return lax.cond(p, lambda x: x @ w, lambda x: x @ w + 1, x)

    program = check(fn, Spec((), np.bool_), Spec(("B", 8)), opsets=(21,), contains=["If"])
    assert len(_loads(program)) == 1


def test_while():
    def fn(x, limit):
        return lax.while_loop(lambda c: (c[0] < limit).all(), lambda c: (c[0] * 2, c[1] + 1), (x, 0))

    for start in (1.0, 50.0, 200.0):
        args = (np.float32(start), np.float32(100))
        check(fn, Spec(()), Spec(()), args=args, opsets=ALL, contains=["Loop"])


def test_while_under_vmap():
    def fn(x):
        return lax.while_loop(lambda c: c[0] < 100, lambda c: (c[0] * 3, c[1] + 1), (x, 0))

    check(jax.vmap(fn), Spec((4,)), args=(np.array([1, 50, 200, 7], np.float32),), opsets=(21,), contains=["Loop"])


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_while_of_one_under_vmap(shape):
    """The only element goes on as long as the loop does: nothing is chosen."""

    def fn(x):
        return lax.while_loop(lambda c: c[0] < 100, lambda c: (c[0] * 3, c[1] + 1), (x, 0))

    batched = functools.reduce(lambda inner, _: jax.vmap(inner), shape, fn)
    runs = [(np.full(shape, start, np.float32),) for start in (1, 50, 200, np.nan)]
    check(batched, Spec(shape), args=runs, opsets=(21,), contains=["Loop"], absent=["Where"])


def test_fori_with_runtime_bounds():
    def fn(n, x):
        return lax.fori_loop(2, n, lambda i, c: c + i * x, x)

    runs = [(np.int32(n), np.ones(3, np.float32)) for n in (0, 2, 3, 9)]
    check(fn, Spec((), np.int32), Spec((3,)), args=runs, opsets=(21,), contains=["Loop"])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 3, 40])
def test_scan(length, reverse):
    def fn(x, xs, w):
        def step(c, x):
            return jnp.sin(c) * w + x[0], (c, x[1])

        return lax.scan(step, x, (xs, xs * 2), reverse=reverse)

    op = ["Scan"] if length == 40 else []
    opsets = ALL if length == 40 else (21,)
    check(fn, Spec((3,)), Spec((length, 3)), Spec((3,)), opsets=opsets, contains=op)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [2, 100])
def test_scan_over_nothing(length, reverse):
    def fn(x):
        return lax.scan(lambda c, _: (c + 1, c * 2), x, None, length=length, reverse=reverse)

    check(fn, Spec(("B", 2)), opsets=ALL, contains=["Loop"] if length == 100 else [])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: lax.fori_loop(0, 3, lambda i, c: c * 2 + i, x),
        lambda x: lax.scan(lambda c, x: (c + x, c * x), x[0], x),
        lambda x: lax.map(lambda v: jnp.sin(v) * v, x),
    ],
    ids=["fori", "scan", "map"],
)
def test_short_loops_are_unrolled(fn):
    """A few small turns cost less unrolled than the runtime's loop around them."""
    check(fn, Spec((3, 4)), opsets=(21,), absent=["Loop", "Scan"])


def nested_scans(depth, length):
    def wrapped(inner):
        return lambda x: lax.scan(lambda c, _: (inner(c), None), x, None, length=length)[0]

    return functools.reduce(lambda fn, _: wrapped(fn), range(depth), lambda x: x * 0.5 + 1)


@pytest.mark.parametrize(("depth", "length"), [(2, 4), (3, 8), (16, 2)])
def test_what_is_unrolled_counts_everything_inside(depth, length):
    program = check(nested_scans(depth, length), Spec((3,)), opsets=(21,), sizes=(1,), rtol=1e-5)
    assert len(list(program.model.graph.all_nodes())) <= 64 + 3 * depth


def test_a_body_is_simplified_once(monkeypatch):
    """Simplified with the program around it, and again only where more is known of its operands."""
    simplified = []
    simplify = _equations.simplify
    monkeypatch.setattr(_equations, "simplify", lambda *args: simplified.append(args) or simplify(*args))
    j2o_core.to_onnx(nested_scans(12, 100), [(3,)])
    assert len(simplified) <= 2


def test_a_loop_reads_outer_weights_in_place():
    w = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32) / 9

    def fn(x, n):
        counted = lax.fori_loop(0, n, lambda i, c: c @ w, x)
        return lax.while_loop(lambda c: jnp.abs(c).sum() > 1e-3, lambda c: c @ w, counted)

    program = check(fn, Spec(("B", 8)), Spec((), np.int32), args=(np.ones((2, 8), np.float32), np.int32(3)))
    assert len(_loads(program)) == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_without_carry_and_with_symbolic_length(reverse):
    def fn(xs):
        return lax.scan(lambda c, x: (c, (x * 2, x.sum())), None, xs, reverse=reverse)[1]

    check(fn, Spec(("T", "B", 2)), opsets=ALL, contains=["Scan"])


def test_scan_with_symbolic_length_and_carry():
    def fn(xs):
        return lax.scan(lambda c, x: (c + x, c), jnp.zeros(2), xs)

    check(fn, Spec(("T", 2)), opsets=(21,), contains=["Scan"])


def test_scan_without_results_per_turn():
    def fn(x, xs):
        return lax.scan(lambda c, x: (c * x, None), x, xs)[0]

    check(fn, Spec((2,), np.int32), Spec((90, 2), np.int32), opsets=(21,), contains=["Scan"])


def test_stacked_weights():
    """A scan over layers that stays one keeps each stack of weights as one constant."""
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((30, 8, 8)) / 3).astype(np.float32)

    def fn(x):
        return lax.scan(lambda c, w: (jnp.tanh(c @ w) + c * 0.5, None), x, w)[0]

    program = check(fn, Spec(("B", 8)), opsets=(21,), contains=["Scan"], unroll=False)
    assert [tensor.const_value.shape.numpy() for tensor in _loads(program)] == [(30, 8, 8)]


def test_nested_loops():
    def fn(x, n):
        def outer(c, xs):
            inner = lax.fori_loop(0, n, lambda i, v: v + xs * i, c)
            c = lax.cond(inner.sum() > 0, lambda v: v * 0.5, lambda v: v - 1, inner)
            return c, lax.scan(lambda a, b: (a + b, a * b), xs.sum(), c)[1]

        return lax.scan(outer, x[0], x)

    check(
        fn,
        Spec((40, 3)),
        Spec((), np.int32),
        args=[(np.ones((40, 3), np.float32), np.int32(k)) for k in (0, 3)],
        opsets=(21,),
    )


def test_map_and_associative_scan():
    check(lambda x: lax.map(lambda r: jnp.sin(r) * r.sum(), x), Spec((70, 3)), opsets=(21,), contains=["Scan"])
    check(lambda x: lax.associative_scan(jnp.add, x), Spec((9, 2)), opsets=(21,))


@pytest.mark.parametrize("length", [3, 50])
def test_gradient_of_scan(length):
    def loss(w, xs):
        def step(c, x):
            c = jnp.tanh(c * w + x)
            return c, c

        return lax.scan(step, jnp.zeros(3), xs)[1].sum()

    check(jax.grad(loss, argnums=(0, 1)), Spec((3,)), Spec((length, 3)), opsets=(21,))


def test_scan_under_vmap():
    def fn(x, xs):
        return lax.scan(lambda c, x: (c * 0.5 + x, c.sum()), x, xs)

    check(jax.vmap(fn, (0, None)), Spec((4, 3)), Spec((60, 3)), opsets=(21,))
    check(jax.vmap(fn, (None, 1)), Spec((3,)), Spec((60, 4, 3)), opsets=(21,))


def test_gradient_of_cond():
    def fn(p, x):
        return lax.cond(p, lambda x: (x * x).sum(), lambda x: jnp.sin(x).sum(), x)

    args = [(np.array(p), np.ones(3, np.float32)) for p in (True, False)]
    check(jax.grad(fn, argnums=1), Spec((), np.bool_), Spec((3,)), args=args, opsets=(21,))


def test_platform_dependent_code_is_that_of_the_cpu():
    def fn(x):
        return lax.platform_dependent(x, cpu=jnp.sin, tpu=jnp.cos, default=jnp.tan)

    check(fn, Spec((3,)), opsets=(21,), contains=["Sin"], absent=["If", "Cos"])


def test_custom_linear_solve_is_its_solver():
    def fn(a, b):
        return lax.custom_linear_solve(lambda x: a * x, b, solve=lambda _, b: b / a, transpose_solve=lambda _, b: b / a)

    check(fn, Spec((3,)), Spec((3,)), opsets=(21,))
    check(jax.grad(lambda a, b: fn(a, b).sum(), argnums=(0, 1)), Spec((3,)), Spec((3,)), opsets=(21,))


def test_wide_types():
    with jax.enable_x64(True):
        fn = lambda x, xs: lax.scan(lambda c, x: (c + x, c * x), x, xs)  # noqa: E731
        check(fn, Spec((2,), np.float64), Spec((70, 2), np.float64), opsets=(21,), contains=["Scan"])
        check(fn, Spec((2,), np.int64), Spec((70, 2), np.int64), opsets=(21,), contains=["Scan"])


def test_same_graph_before_and_after_running():
    def fn(x):
        return lax.scan(lambda c, v: (c + v, c), x[0], x)

    first = to_onnx(fn, [(80, 2)])
    fn(jnp.ones((80, 2)))
    second = to_onnx(fn, [(80, 2)])
    assert [n.op_type for n in first.model.graph] == [n.op_type for n in second.model.graph]


def test_remainders_of_the_counter():
    # The runtime merges (1 / n) * n, which is 0, into n / n.
    def fn(x, n):
        return lax.fori_loop(0, 4, lambda i, x: x.at[i % 3].set(i % n), x)

    check(fn, np.arange(4, dtype=np.int32), np.int32(3))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_remainders_of_a_known_counter(dtype):
    """Written out, the turns' counters are constants, in a graph that is no longer than it has to be."""

    def fn(x):
        return lax.fori_loop(0, 3, lambda i, x: x.at[i % x.shape[0]].set(i.astype(x.dtype)), x)

    check(fn, Spec(("T",), np.dtype(dtype)))


def test_what_a_counter_gives_is_known():
    def fn(x):
        return lax.scan(lambda i, v: (i + 1, v * (i % 3) ** 2), 0, x)

    program = check(fn, Spec((4, 2), np.int32), opsets=(21,), absent=["Add", "Mod", "Div", "Where"])
    assert sum(node.op_type == "Mul" for node in program.model.graph) <= 4


def test_scan_over_items_without_elements():
    items = np.zeros((40, 0, 3), np.int32)

    def fn(x):
        return lax.scan(lambda carry, item: (carry + x, (item * 2, carry + item.sum())), x, items)

    check(fn, Spec((), jnp.int32), opsets=(21,), unroll=False)
