"""Softsign, whatever the spelling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -3, 1e-30, -1e-30, 1e30, 3e38, -3e38], np.float32)

SPELLINGS = {
    "jax": jax.nn.soft_sign,
    "one first": lambda x: x / (1 + jnp.abs(x)),
    "jit": jax.jit(jax.nn.soft_sign),
    "vmap": jax.vmap(jax.nn.soft_sign),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_one_operator(spelling):
    for value in SPECIAL:  # alone, as a tolerance is a fraction of the largest
        program = check(SPELLINGS[spelling], np.array([value]), opsets=(21,))
        assert [node.op_type for node in program.model.graph] == ["Softsign"]
    check(SPELLINGS[spelling], Spec(("B", 50)), seed=1)


@pytest.mark.parametrize("dtype", DTYPES.floats)
def test_element_types_and_sizes(dtype):
    program = check(jax.nn.soft_sign, Spec(("B", "T"), dtype), opsets=(18, 23))
    if dtype in DTYPES.floats[:2]:
        assert [node.op_type for node in program.model.graph if node.op_type != "Cast"] == ["Softsign"]
    check(jax.nn.soft_sign, Spec((0, 3), dtype), opsets=(21,))
    check(jax.nn.soft_sign, Spec((1,), dtype), opsets=(21,))


def test_primal_of_a_gradient():
    check(jax.value_and_grad(lambda x: jax.nn.soft_sign(x).sum()), Spec(("B", 3)), contains=["Softsign"])


def test_float64_is_left_to_exact_operators():
    with jax.enable_x64(True):
        check(jax.nn.soft_sign, Spec(("B", 4), np.float64), absent=["Softsign"])


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x / (2 + jnp.abs(x)),
        lambda x: x[::-1] / (1 + jnp.abs(x)),
        lambda x: (1 + jnp.abs(x)) / x,
        lambda x: x / (1 - jnp.abs(x)),
        lambda x: x / (jnp.arange(4.0) + jnp.abs(x)),
        lambda x: x / (jnp.ones((2, 3, 4)) + jnp.abs(x)),
    ],
    ids=["two", "another value", "inverse", "difference", "array", "larger"],
)
def test_declines_other_functions(other):
    check(other, Spec((3, 4)), absent=["Softsign"], opsets=(21,))
