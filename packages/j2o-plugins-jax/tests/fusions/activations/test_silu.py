"""SiLU written with an exponential."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, -1, 10, -10, -17, 30, -30, 90, -90, 1e30, -1e30], np.float32)
SPELLINGS = {
    "divided": lambda x: x / (1 + jnp.exp(-x)),
    "one behind": lambda x: x / (jnp.exp(-x) + 1),
    "inverse": lambda x: x * (1 / (1 + jnp.exp(-x))),
    "reciprocal": lambda x: jnp.reciprocal(1.0 + jnp.exp(-1.0 * x)) * x,
    "jit": jax.jit(lambda x: x / (1 + jnp.exp(-x))),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_sigmoid_and_mul(spelling):
    # The runtime's Sigmoid ends at x = -18: 3e-7 of the result, which `atol` takes as a part of the largest one.
    program = check(SPELLINGS[spelling], SPECIAL[:-2], atol=1e-7)
    assert [node.op_type for node in program.model.graph] == ["Sigmoid", "Mul"]
    check(SPELLINGS[spelling], SPECIAL, atol=1e-7)
    check(SPELLINGS[spelling], Spec(("B", "T")), contains=["Sigmoid"], absent=["Exp"], seed=1)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision(dtype):
    check(SPELLINGS["divided"], Spec((3, 50), dtype), contains=["Sigmoid"], absent=["Exp"])


def test_a_steeper_one():
    program = check(lambda x: x / (1 + jnp.exp(-1.702 * x)), Spec(("B", 50)), absent=["Exp"])
    assert [node.op_type for node in program.model.graph] == ["Mul", "Sigmoid", "Mul"]


def test_empty_and_primal_of_a_gradient():
    check(SPELLINGS["divided"], Spec((0, 3)), opsets=(21,))
    check(jax.value_and_grad(lambda x: SPELLINGS["divided"](x).sum()), Spec(("B", 3)), opsets=(21,))


@pytest.mark.parametrize(
    "other",
    [
        lambda x: 1 / (1 + jnp.exp(-x)),
        lambda x: 1e9 / (1 + jnp.exp(-x)),
        lambda x: x[::-1] / (1 + jnp.exp(-x)),
        lambda x: x / (1 + jnp.exp(x)),
        lambda x: x / (2 + jnp.exp(-x)),
        lambda x: (1 + jnp.exp(-x)) / x,
        lambda x: x * (2 / (1 + jnp.exp(-x))),
        lambda x: x * (1 + jnp.exp(-x)),
        lambda x: x / (1 + jnp.exp(-x * np.arange(1, 5, dtype=np.float32))),
        lambda x: jnp.broadcast_to(x, (2, 3, 4)) / (1 + jnp.exp(-x)),
    ],
    ids=[
        *("sigmoid", "large numerator", "another value", "sign", "no one", "inverse", "two", "product", "table"),
        "larger",
    ],
)
def test_declines_other_functions(other):
    check(other, Spec((3, 4)), absent=["Sigmoid"], opsets=(21,))


def test_declines_double_precision(x64):
    check(SPELLINGS["divided"], SPECIAL[:-2].astype(np.float64), absent=["Sigmoid"], opsets=(21,))
