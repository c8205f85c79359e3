"""Relu from a maximum with zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check


@pytest.mark.parametrize("relu", [jax.nn.relu, lambda x: jnp.maximum(x, 0), lambda x: jnp.maximum(0.0, x)])
def test_is_one_operator(relu):
    check(relu, np.array([-1, 0, 2, np.nan, np.inf, -np.inf], np.float32), contains=["Relu"], absent=["Max"])


def test_declines_integers_and_other_bounds():
    check(lambda x: jnp.maximum(x, 0), Spec((4,), np.int32), absent=["Relu"])
    check(lambda x: jnp.maximum(x, 0.5), Spec((4,)), absent=["Relu"])


def test_declines_a_zero_that_makes_the_result_larger():
    check(lambda x: jnp.maximum(x, jnp.zeros((3, 4))), Spec((4,)), absent=["Relu"])
