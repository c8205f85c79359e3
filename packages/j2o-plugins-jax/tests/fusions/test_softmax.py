"""Softmax, and what only looks like it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("shape", [(3, 4, 5), ("B", 4, 5)])
def test_jax_softmax_is_one_operator(axis, shape):
    check(lambda x: jax.nn.softmax(x, axis), Spec(shape), contains=["Softmax"], absent=["Exp", "Div"])


def test_softmax_written_by_hand():
    def softmax(x):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    check(softmax, Spec(("B", 7)), contains=["Softmax"], absent=["Exp"])


def test_large_and_infinite_scores():
    x = np.array([[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0]], np.float32)
    check(jax.nn.softmax, x, contains=["Softmax"])


def test_declines_two_axes():
    check(lambda x: jax.nn.softmax(x, (1, 2)), Spec((2, 3, 4)), absent=["Softmax"])


def test_declines_when_something_else_than_the_maximum_is_taken_off():
    def not_softmax(x):
        e = jnp.exp(x - x.min(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    check(not_softmax, Spec((2, 5)), absent=["Softmax"])


def test_declines_when_the_sum_is_of_another_value():
    def not_softmax(x, y):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / y.sum(-1, keepdims=True)

    check(not_softmax, Spec((2, 5)), Spec((2, 5)), absent=["Softmax"], rtol=1e-3)  # a sum of normals is near zero
