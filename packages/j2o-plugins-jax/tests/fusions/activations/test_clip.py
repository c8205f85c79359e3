"""Clip from maxima and minima, and these from selections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -1, 3, 6, 7, 1e30, -1e30, 1e-40], np.float32)


def six(x):
    return jnp.minimum(jnp.maximum(x, 0), 6)


SPELLINGS = {
    "relu6": jax.nn.relu6,
    "minimum of maximum": six,
    "number first": lambda x: jnp.minimum(6.0, jnp.maximum(0.0, x)),
    "maximum of minimum": lambda x: jnp.maximum(jnp.minimum(x, 6), 0),
    "relu of minimum": lambda x: jax.nn.relu(jnp.minimum(x, 6)),
    "clip": lambda x: jnp.clip(x, 0, 6),
    "method": lambda x: x.clip(-2.5, 1e20),
    "clamp": lambda x: jax.lax.clamp(jnp.asarray(0, x.dtype), x, jnp.asarray(6, x.dtype)),
    "array of one number": lambda x: jnp.clip(x, jnp.zeros((1,), x.dtype), jnp.full(x.shape[-1:], 6, x.dtype)),
    "hard_tanh": jax.nn.hard_tanh,
    "selections": lambda x: jnp.where(x >= 6, 6, jnp.where(jnp.greater(0, x), 0, x)),
    "selection of relu": lambda x: jnp.where(jnp.less(6, x), 6, jax.nn.relu(x)),
    "equal bounds": lambda x: jnp.clip(x, 2, 2),
    "jit": jax.jit(six),
    "vmap": jax.vmap(six),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_one_operator(spelling):
    program = check(SPELLINGS[spelling], SPECIAL)
    assert [node.op_type for node in program.model.graph] == ["Clip"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_element_types_and_symbolic_sizes(dtype):
    with jax.enable_x64(dtype == np.float64):
        check(six, Spec(("B", "T"), dtype), contains=["Clip"], absent=["Relu", "Min"])
        check(six, SPECIAL[:8].astype(dtype), contains=["Clip"], opsets=(21,))
        check(six, Spec((0, 3), dtype), opsets=(21,))


def test_bfloat16():
    check(six, SPECIAL[:8].astype(DTYPES.floats[2]), opsets=(21,))


def test_primal_of_a_gradient():
    check(jax.value_and_grad(lambda x: six(x).sum()), Spec(("B", 3)), contains=["Clip"])


@pytest.mark.parametrize("fn", [lambda x: jnp.where(x <= 0, 0, x), lambda x: jnp.where(x > 0, 0, x)])
def test_declines_what_chooses_between_zeros_of_both_signs(fn):
    check(fn, SPECIAL, contains=["Where"], opsets=(21,))


def test_declines_bounds_that_cross():
    check(lambda x: jnp.minimum(jnp.maximum(x, 2), 1), SPECIAL, absent=["Clip"])
    check(lambda x: jnp.maximum(jnp.minimum(x, 1), 2), SPECIAL, absent=["Clip"])
    check(lambda x: jnp.clip(x, jnp.nan, 1), SPECIAL, absent=["Clip"])


def test_declines_integers():
    check(six, Spec((3,), np.int32), absent=["Clip"])


def test_declines_bounds_that_are_no_number():
    check(lambda x, low: jnp.clip(x, low, 6), Spec((3,)), Spec((3,)), absent=["Clip"])
    check(lambda x: jnp.clip(x, jnp.arange(3.0), 6), Spec((3,)), absent=["Clip"])


def test_declines_a_bound_that_makes_the_result_larger():
    check(lambda x: jnp.minimum(jnp.maximum(x, 0), jnp.full((2, 3), 6)), Spec((3,)), absent=["Clip"])


@pytest.mark.parametrize("bound", [-1.5, 2])
@pytest.mark.parametrize(
    ("select", "op"),
    [
        (lambda x, c: jnp.where(x > c, c, x), "Min"),
        (lambda x, c: jnp.where(jnp.less_equal(c, x), c, x), "Min"),
        (lambda x, c: jnp.where(x <= c, c, x), "Max"),
        (lambda x, c: jnp.where(jnp.greater(c, x), c, x), "Max"),
    ],
)
def test_selections_are_maxima_and_minima(select, op, bound):
    check(lambda x: select(x, bound), SPECIAL, contains=[op], absent=["Where"])


@pytest.mark.parametrize(
    "select",
    [
        lambda x: jnp.where(x > 2, x, 2),  # 2 where x is NaN
        lambda x: jnp.where(x > 1, 2, x),
        lambda x: jnp.where(x > 1, 1, x[::-1]),
        lambda x: jnp.where(x[::-1] < 1, 1, x),
        lambda x: jnp.where(x > -1, -1, jnp.maximum(x, 0)),
        lambda x: jnp.where(x < 3, 3, jnp.minimum(x, 2)),
        lambda x: jnp.where(x < 1, 1, jnp.maximum(x, 2)),
        lambda x: jnp.where(x < jnp.arange(11.0), jnp.arange(11.0), x),
        lambda x: jnp.where(x > 1, 1, jnp.broadcast_to(x, (2, 11))),
    ],
    ids=["keeps no NaN", "bound", "value", "condition", "crossed", "crossed below", "same side", "array", "larger"],
)
def test_declines_other_selections(select):
    check(select, SPECIAL, contains=["Where"])


def test_declines_selections_of_integers():
    check(lambda x: jnp.where(x > 1, 1, x), Spec((5,), np.int32), contains=["Where"])
