"""Primitives that pass their operands on leave no node."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from j2o_core.testing import Spec, check


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: lax.stop_gradient(x),
        lambda x: jnp.copy(x),
        lambda x: lax.optimization_barrier((x, x * 2))[0],
        lambda x: jax.device_put(x),
        lambda x: checkpoint_name(x, "activation"),
    ],
)
def test_values_pass(fn):
    check(lambda x: jnp.sin(fn(x)), Spec(("B", 3)), absent=["Identity"], opsets=(21,))
