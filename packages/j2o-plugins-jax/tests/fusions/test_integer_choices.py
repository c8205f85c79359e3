"""Choices among many integers are sums, which wrap around as JAX's choices never do: the same numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

RNG = np.random.default_rng(0)
SIZE = 5000


def integers(dtype, *shape):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def wheres(program):
    return [node.op_type for node in program.model.graph].count("Where")


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
@pytest.mark.parametrize(
    ("x", "y"),
    [((SIZE,), (SIZE,)), ((), (SIZE,)), ((SIZE,), ()), ((1,), (1,)), ((1, SIZE // 2), (2, 1))],
)
def test_all_numbers_of_a_type(dtype, x, y):
    shape = (2, SIZE // 2) if len(x) == 2 else (SIZE,)
    condition = RNG.random(shape) < 0.5
    program = check(jnp.where, condition, integers(dtype, *x), integers(dtype, *y), opsets=(18, 21))
    assert wheres(program) == 0


def test_extremes_of_a_type():
    condition = np.resize([True, False, False, True], SIZE)
    low, high = (np.full(SIZE, bound, np.int32) for bound in (-(2**31), 2**31 - 1))
    assert wheres(check(jnp.where, condition, low, high, opsets=(21,))) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_other_types_stay_choices(dtype):
    assert wheres(check(jnp.where, Spec((SIZE,), bool), Spec((SIZE,), dtype), Spec((SIZE,), dtype), opsets=(21,))) == 1


def test_few_numbers_and_conditions_that_are_broadcast_stay_choices():
    x = integers(np.int32, 100)
    assert wheres(check(lambda c, x: jnp.where(c, x, 0), x > 0, x, opsets=(21,))) == 1
    x = integers(np.int32, 100, 100)
    assert wheres(check(lambda c, x: jnp.where(c, x, -x), x[0] > 0, x, opsets=(21,))) == 1
    assert (
        wheres(check(lambda c, x: jnp.where(c, x, -x), Spec(("B",), bool), Spec(("B",), np.int32), opsets=(21,))) == 1
    )
