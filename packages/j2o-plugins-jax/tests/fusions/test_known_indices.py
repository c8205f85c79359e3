"""Indices that the counter of a loop makes are known to lie inside: no choice, no clamp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import Spec, check

RNG = np.random.default_rng(0)
X = RNG.standard_normal(50).astype(np.float32)
ARITHMETIC = {"Where", "Clip", "Less", "Mod", "And", "Min", "Max"}


def inside(program):
    return {node.op_type for node in program.model.graph.all_nodes()} & ARITHMETIC


def counted(index, turns=40, start=0, size=50):
    """Sums of the elements at the places that a counter gives, each of which is changed."""

    def turn(i, state):
        total, x = state
        place = index(i)
        return total * 0.5 + x[place], x.at[place].set(total)

    return lambda x: lax.fori_loop(start, start + turns, turn, (0.0, x[:size]))


@pytest.mark.parametrize(
    "index",
    [lambda i: i, lambda i: i + 10, lambda i: 39 - i, lambda i: (3 * i + 1) % 50, lambda i: jnp.clip(i, 0, 49)],
    ids=["counter", "behind", "backwards", "modulo", "clipped"],
)
def test_places_inside(index):
    assert not inside(check(counted(index), X))


@pytest.mark.parametrize(
    ("index", "turns", "start"),
    [
        (lambda i: i, 70, 0),
        (lambda i: i + 11, 40, 0),
        (lambda i: i, 40, -5),
        (lambda i: -i, 40, 0),
        (lambda i: i - 1, 40, 0),
        (lambda i: (i - 20) % 7, 40, 0),
        (lambda i: (3 * i) % 51, 60, 0),
        (lambda i: i * 60_000_000, 40, 0),
    ],
    ids=["turns", "beyond", "start", "negative", "one before", "sign of a rest", "rest", "wraps"],
)
def test_places_outside_are_those_of_jax(index, turns, start):
    assert inside(check(counted(index, turns, start), X, opsets=(21,)))


def test_items_of_a_scan():
    def fn(x, order=tuple(range(5, 45))):
        items = jnp.array(order, jnp.int32)
        return lax.scan(lambda x, i: (x.at[i].mul(2.0), x[i - 55] + x[i + 5]), x, items)

    assert not inside(check(fn, X))
    assert inside(check(lambda x: fn(x, tuple(range(4, 44))), X, opsets=(21,)))
    assert inside(check(lambda x: fn(x, tuple(range(6, 46))), X, opsets=(21,)))
    assert inside(check(lambda x, items: lax.scan(lambda c, i: (c + x[i], c), 0.0, items), X, Spec((40,), np.int32)))


def test_counters_beside_others_nested_and_under_vmap():
    def fn(x):
        def outer(i, x):
            return lax.fori_loop(2, 40, lambda j, x: x.at[j].add(x[i] + x[j - 2]), x) * 0.5

        return lax.fori_loop(0, 35, outer, x)

    assert not inside(check(fn, X))
    check(jax.vmap(fn), Spec((3, 50)), opsets=(21,))

    def by_hand(x):
        turn = lambda state, _: ((state[0] + 3, state[1] - 1, state[2] * 0.5 + x[state[0]] - x[state[1]]), state[2])  # noqa: E731
        return lax.scan(turn, (2, 30, 0.0), None, length=16)[1]

    assert not inside(check(by_hand, X))
    assert inside(to_onnx(lambda x, n: lax.fori_loop(0, n, lambda i, t: t + x[i], 0.0), [X, Spec((), np.int32)]))


def test_counters_that_wrap_around_or_change_otherwise():
    def fn(x, start, step):
        turn = lambda state, _: ((step(state[0]), state[1] * 0.5 + x[state[0]]), state[0])  # noqa: E731
        return lax.scan(turn, (np.array(start), 0.0), None, length=100)

    assert inside(check(lambda x: fn(x, np.int8(5), lambda i: i + np.int8(2)), X, opsets=(21,)))
    assert inside(check(lambda x: fn(x, np.int32(1), lambda i: i * 2 + 1), X, opsets=(21,)))
    assert inside(check(lambda x: fn(x, np.int32(1), lambda i: i + i), X, opsets=(21,)))
    check(lambda x: fn(x, np.uint32(3), lambda i: i + np.uint32(2**32 - 1)), X, opsets=(21,))


def test_choices_of_equal_integers_and_not_of_floats():
    i = RNG.integers(0, 5, 20).astype(np.int32)
    assert not inside(check(lambda i, x, y: jnp.where(i == i, x, y), i, X[:20], X[20:40]))
    floats = np.array([1, np.nan, np.inf], np.float32)
    assert inside(check(lambda f: jnp.where(f == f, f, 2.0), floats))
    small = np.arange(3, dtype=np.int32)
    check(lambda i, x: jnp.where((i * 0 < 9)[:, None], x, 1.0), small, Spec(()), opsets=(21,))
    check(lambda i, x: jnp.where(i == i, x, jnp.ones(3)), small, Spec(()), opsets=(21,))


def test_extremes_of_numbers_that_were_float8():
    """Between 0.2 and 0.7 they are not 0, which an integer would be."""

    def fn(x):
        narrow = jnp.clip(jnp.nan_to_num(x), 0.2, 0.7).astype("float8_e4m3fn").astype(jnp.float32)
        return jnp.maximum(narrow, jnp.clip(1 - x, 0.1, 0.6))

    check(fn, np.linspace(0, 1, 8, dtype=np.float32), opsets=(21, 26), contains=["Max"])
