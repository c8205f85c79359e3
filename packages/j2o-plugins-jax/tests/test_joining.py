"""Concatenate, stack, split, unstack and tile."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_every_dtype(dtype):
    def fn(x, y):
        joined = jnp.concatenate([x, y], 1)
        return jnp.stack([x, x], 1), jnp.tile(joined, (2, 1)), lax.split(joined, (1, 3, 1), axis=1)

    check(fn, Spec((2, 3), dtype), Spec((2, 2), dtype), opsets=(18, 26))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stack_and_unstack(axis):
    once(lambda x, y: jnp.stack([x, y], axis), Spec(("B", 3)), Spec(("B", 3)), absent=["Shape"])
    once(lambda x: jnp.unstack(x, axis=axis), Spec((2, 3, 4)))
    once(lambda x: jnp.unstack(x, axis=1)[1] + 1, Spec(("B", 3)))


def test_concatenation_along_symbolic_axes():
    once(lambda x, y: jnp.concatenate([x, y, x], 0), Spec(("B", 3)), Spec(("C", 3)), contains=["Concat"])
    once(lambda x, y: jnp.concatenate([x, y[:0]]) * 2, Spec((2, 3)), Spec((4, 3)), absent=["Concat"])
    once(lambda x: jnp.concatenate([x]) * 2, Spec((0, 3)), absent=["Concat"])


def test_class_token_in_front_of_a_symbolic_batch():
    token = np.arange(4, dtype=np.float32)
    once(lambda x: jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, 4)), x], 1), Spec(("B", 3, 4)))


@pytest.mark.parametrize("sizes", [(2, 3), (5,), (0, 5), (2, 0, 3), (1, 1, 1, 2)])
def test_split(sizes):
    check(lambda x: [part * 2 for part in lax.split(x, sizes, axis=1)], Spec(("B", 5)))


@pytest.mark.parametrize("reps", [(2,), (1, 3), (2, 1, 2), (0, 1)])
def test_tile(reps):
    once(lambda x: jnp.tile(x, reps), Spec(("B", 2)))


def test_under_vmap_and_grad():
    def fn(x, y):
        left, right = jnp.split(jnp.concatenate([x, y]), [3])
        return jnp.stack([left, right], 1) * jnp.tile(x, 2)[:3, None]

    once(jax.vmap(fn), Spec(("B", 2)), Spec(("B", 4)))
    once(jax.grad(lambda x, y: jnp.sum(fn(x, y) ** 2), (0, 1)), Spec((2,)), Spec((4,)))
