"""Loops whose bodies compute the same in each turn: numbers are as in JAX, and the body is short."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

from .test_scan_items import operators


def body_of(program):
    """The operators of the first loop's body."""
    return operators(program)[1]


def scanned(x, w, xs):
    return lax.scan(lambda carry, item: (carry * 0.5 + jnp.sin(w) @ item, jnp.exp(w).sum()), x, xs)


def counted(x, w):
    return lax.fori_loop(0, 40, lambda i, carry: carry * 0.5 + jnp.sin(w) @ jnp.ones(3) * i, x)


def until(x, w, limit):
    return lax.while_loop(lambda c: c[0].sum() < limit, lambda c: (c[0] + jnp.exp(w).sum(0), c[1] + 1), (x, 0))


def test_scan():
    program = check(scanned, Spec((3,)), Spec((3, 3)), Spec((40, 3)))
    assert not {"Sin", "Exp"} & set(body_of(program))


def test_scan_of_symbolic_length():
    check(scanned, Spec((3,)), Spec((3, 3)), Spec(("T", 3)), opsets=(21,))


def test_fori():
    program = check(counted, Spec((3,)), Spec((3, 3)))
    assert not {"Sin", "MatMul"} & set(body_of(program))


@pytest.mark.parametrize("limit", [-100, 30])
def test_while_that_may_take_no_turn(limit):
    args = [np.ones(3, np.float32), np.full((3, 3), 0.1, np.float32), np.float32(limit)]
    program = check(until, *args, opsets=(21,))
    assert not {"Exp", "ReduceSum"} <= set(body_of(program))


def test_a_division_by_zero_in_a_loop_without_turns():
    def fn(x, n):
        return lax.while_loop(lambda c: c[1] < n, lambda c: (c[0] + c[0] // n, c[1] + 1), (x, 0))[0]

    check(fn, np.arange(3, dtype=np.int32), np.int32(0), opsets=(21,))


def test_under_vmap_and_grad():
    program = check(jax.vmap(counted), Spec(("B", 3)), Spec(("B", 3, 3)), opsets=(21,))
    assert "Sin" not in body_of(program)
    check(jax.grad(lambda x, w: counted(x, w).sum(), 1), Spec((3,)), Spec((3, 3)), opsets=(21,))


def test_nested():
    def fn(x, w):
        def outer(carry, item):
            return lax.fori_loop(0, 30, lambda i, c: c * 0.9 + jnp.tanh(w) @ item + jnp.cos(w).sum(), carry), None

        return lax.scan(outer, x, jnp.ones((20, 3)))[0]

    program = check(fn, Spec((3,)), Spec((3, 3)), opsets=(21,))
    assert not {"Tanh", "Cos"} & set(body_of(program))
