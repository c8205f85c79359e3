"""Rows written at known places, one after the other and read in between, as by a loop over `x.at[i].set`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

once = functools.partial(check, opsets=(18, 21))
LARGE = 2**16  # numbers from which a dynamic slice of one is updated in place


def operators(program):
    return [node.op_type for node in program.model.graph]


def scatters(program):
    return sum(op_type.startswith("Scatter") for op_type in operators(program))


@pytest.mark.parametrize("shape", [(8,), (8, 3), (8, 2, 3), (LARGE,)])
def test_rows_are_written_at_once(shape):
    def fn(x):
        for k in range(3):
            x = x.at[2 * k].set(x[k + 1] * 2)
        return x

    assert scatters(once(fn, Spec(shape))) == 1


def test_an_unrolled_loop():
    def fn(x):
        return lax.fori_loop(0, 6, lambda i, x: x.at[7 * i].set(x[i] + 1), x)

    assert scatters(once(fn, Spec((LARGE,)), unroll=True)) == 1


def test_all_rows_are_joined():
    def fn(x):
        y = jnp.zeros((3, 4))
        for k in (2, 0, 1):
            y = y.at[k].set(x * k)
        return y

    assert scatters(once(fn, Spec((4,)))) == 0


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_writes_and_reads(seed):
    """Rows and spans, some of them twice, added and set, with reads of single rows, spans and of all in between."""
    random = np.random.default_rng(seed)
    steps = [(random.choice(["set", "set", "add", "span", "all", "last"]), *random.integers(0, 7, 2)) for _ in range(9)]

    def fn(x, u):
        for kind, to, source in steps:
            if kind == "span":
                x = x.at[to : to + 2].set(x[source : source + 2] * 2)
            elif kind == "all":
                x = x.at[to].set(x.sum(0))
            elif kind == "last":
                x = x.at[-1 - to].set(u)
            else:
                x = getattr(x.at[to], kind)(x[source] - u)
        return x, x[3]

    for shape in ((9,), (9, 2)):
        once(fn, Spec(shape), Spec(shape[1:]))


NEAR = {
    "the value between is read": lambda x: (y := x.at[1].set(7.0), y.at[2].set(8.0)),
    "a row twice": lambda x: x.at[1].set(x[2]).at[0].set(x.sum()).at[1].set(5.0),
    "a sum": lambda x: x.at[1].add(x[2]).at[0].add(x[1]),
    "a computed place": lambda x: x.at[1].set(7.0).at[x[0].astype(int)].set(8.0),
    "rows twice in one write": lambda x: x.at[np.array([1, 1])].set(7.0).at[2].set(8.0),
    "places outside": lambda x: x.at[np.array([1, 40])].set(7.0).at[np.array([-40, 2])].set(8.0),
    "columns": lambda x: x.reshape(4, 2).at[:, 0].set(7.0).at[:, 1].set(8.0),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(name):
    once(NEAR[name], Spec((8,)))


def test_gradients_and_batches():
    def fn(x):
        for k in range(3):
            x = x.at[k].set(jnp.sin(x[k + 1]))
        return (x**2).sum()

    once(jax.vmap(jax.grad(fn)), Spec((2, 6)))
    check(lambda x: x.at[0].set(x[1]).at[1].set(x[0]), Spec(("N", 3)), sizes=(2, 5), opsets=(21,))
