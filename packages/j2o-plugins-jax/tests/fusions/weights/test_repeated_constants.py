"""Constants that repeat along an axis are stored once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

ROWS = np.arange(1.0, 5, dtype=np.float32)[:, None]


def largest(program):
    return max((int(np.prod(list(v.shape))) for v in program.model.graph.initializers.values()), default=0)


@pytest.mark.parametrize("op", [jnp.add, jnp.subtract, jnp.multiply, jnp.divide])
@pytest.mark.parametrize("swap", [False, True])
def test_is_stored_once(op, swap):
    written_out = np.ascontiguousarray(np.broadcast_to(ROWS, (3, 4, 5)))
    fn = (lambda x: op(written_out, x)) if swap else (lambda x: op(x, written_out))
    assert largest(check(fn, Spec(("B", 3, 4, 5)))) == 4
    assert largest(check(jax.jit(jax.vmap(fn)), Spec(("A", "B", 3, 4, 5)))) == 4


def test_one_number():
    assert largest(check(lambda x: x * np.full((3, 4), 2.5, np.float32), Spec((3, 4)))) == 1


def test_signs_of_zeros_are_not_lost():
    zeros = np.array([[0.0, -0.0], [0.0, -0.0]], np.float32)
    program = check(lambda x: x / zeros, np.array([[1, 2], [-1, 3]], np.float32))
    assert largest(program) == 2
    kept = zeros.T.copy()
    kept[0, 1] = -0.0
    assert largest(check(lambda x: x / kept, np.array([[1, 2], [-1, 3]], np.float32))) == 4


def test_declines_arrays_that_do_not_repeat():
    numbers = np.broadcast_to(ROWS, (3, 4, 5)).copy()
    numbers[2, 1, 3] = 0
    assert largest(check(lambda x: x + numbers, Spec((3, 4, 5)))) == 60


def test_declines_nan():
    numbers = np.full((3, 4), np.nan, np.float32)
    assert largest(check(lambda x: x + numbers, Spec((3, 4)))) == 12


def test_declines_what_makes_the_result_larger():
    written_out = np.ascontiguousarray(np.broadcast_to(ROWS, (3, 4, 5)))
    assert largest(check(lambda x: x + written_out, Spec((4, 5)))) == 60


def test_empty():
    check(lambda x: x + np.zeros((0, 4), np.float32), Spec((0, 4)))
