"""Scans whose turns do nothing once a condition fails end there, with JAX's results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

X = np.array([2, 3, 5], np.float32)


def going(carry):
    return jnp.abs(carry[0] ** 2 - carry[2]).max() > 1e-4


def newton(carry):
    return (carry[0] + carry[2] / carry[0]) / 2, carry[1] + 1, carry[2]


def solved(x, turns=64, pred=going, step=newton, idle=lambda c: c):
    return lax.scan(lambda c, _: (lax.cond(pred(c), step, idle, c), None), (jnp.ones_like(x), 0, x), None, turns)[0]


def with_condition_in_the_carry(x, turns=64):
    def turn(carry, _):
        value, go = carry
        return lax.cond(go, lambda v: (newton(v), going(newton(v))), lambda v: (v, False), value), None

    value = jnp.ones_like(x), 0, x
    return lax.scan(turn, (value, going(value)), None, turns)[0]


def operators(program):
    """Those of the main graph and of all bodies."""
    return [node.op_type for node in program.model.graph.all_nodes()]


@pytest.mark.parametrize("fn", [solved, with_condition_in_the_carry])
@pytest.mark.parametrize("turns", [1, 2, 64])
def test_ends_early(fn, turns):
    program = check(lambda x: fn(x, turns), X, opsets=(18, 21))
    if turns == 64:
        assert operators(program).count("Loop") == 1
        assert "If" not in operators(program)


def test_no_turn():
    program = check(lambda x: solved(x, pred=lambda c: c[0].sum() > 100), X, opsets=(21,))
    assert "If" not in operators(program)


def test_operands_that_are_computed_first():
    def fn(x, w):
        def turn(c, _):
            shared = jnp.sin(c) * w
            return lax.cond(shared.sum() > 1, lambda c, s: c * 0.5 + s * 0.1, lambda c, s: c, c, shared), None

        return lax.scan(turn, x, None, 50)[0]

    program = check(fn, X, np.float32(0.7), opsets=(21,))
    assert "If" not in operators(program)


STAYS = {
    "carries exchanged": lambda x: lax.scan(
        lambda c, _: (lax.cond(c[0].sum() > 4, lambda c: (c[0] * 0.9, c[1]), lambda c: (c[1], c[0]), c), None),
        (x, x * 2),
        None,
        40,
    )[0],
    "idle turns count": lambda x: solved(x, idle=lambda c: (c[0], c[1] + 1, c[2])),
    "a counter beside": lambda x: lax.fori_loop(
        0, 40, lambda i, c: lax.cond(c.sum() < 9, lambda c: c * 1.5 + i, lambda c: c, c), x
    ),
    "turns have results": lambda x: lax.scan(
        lambda c, _: (lax.cond(c.sum() < 9, lambda c: c * 1.5, lambda c: c, c), c.sum()), x, None, 40
    ),
    "a condition on items": lambda x: lax.scan(
        lambda c, item: (lax.cond(item > 0, lambda c: c * 0.9, lambda c: c, c), None), x, jnp.arange(-20, 20)
    )[0],
    "False in the carry of another flag": lambda x: lax.scan(
        lambda c, _: (
            lax.cond(c[0].sum() < 9, lambda c: (c[0] * 1.5, c[1]), lambda c: (c[0], False), c),
            None,
        ),
        (x, x.sum() > 0),
        None,
        40,
    )[0],
}


@pytest.mark.parametrize("name", STAYS)
def test_other_bodies_take_all_turns(name):
    program = check(STAYS[name], X, opsets=(21,))
    assert "If" in operators(program)


def test_under_vmap_and_grad():
    check(jax.vmap(solved), Spec(("B", 3)), args=[(np.stack([X, X * 7]),)], opsets=(21,))
    check(jax.grad(lambda x: solved(x)[0].sum()), X, opsets=(21,))


def test_the_other_branch_idles():
    """Only a condition that fails ends a loop: one that is true and stays so does, too, but nobody writes it."""
    check(
        lambda x: lax.scan(lambda c, _: (lax.cond(c.sum() > 9, lambda c: c, lambda c: c * 1.5, c), None), x, None, 40)[
            0
        ],
        X,
    )
