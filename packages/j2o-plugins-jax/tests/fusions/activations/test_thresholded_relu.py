"""ThresholdedRelu from selections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1, 1.0000001, 3, -1, 1e30, -1e30, 1e-30], np.float32)

SPELLINGS = {
    "larger than": lambda x: jnp.where(x > 1, x, 0),
    "number first": lambda x: jnp.where(jnp.less(1.0, x), x, 0),
    "zero": lambda x: jnp.where(x > 0, x, 0),
    "below zero": lambda x: jnp.where(x > -1, x, 0),
    "jit": jax.jit(lambda x: jnp.where(x > 1, x, 0)),
    "vmap": jax.vmap(lambda x: jnp.where(x > 1, x, 0)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_one_operator(spelling):
    program = check(SPELLINGS[spelling], Spec(("N",)), args=(SPECIAL,))
    assert [node.op_type for node in program.model.graph] == ["ThresholdedRelu"]
    zeros = np.array([0.0, -0.0], np.float32)
    assert (np.signbit(program(zeros)) == np.signbit(SPELLINGS[spelling](jnp.asarray(zeros)))).all()
    check(SPELLINGS[spelling], Spec(("B", 50)), opsets=(21,), seed=1)


@pytest.mark.parametrize("dtype", DTYPES.floats)
def test_element_types_and_sizes(dtype):
    keep = SPELLINGS["larger than"]
    program = check(keep, Spec(("B", "T"), dtype), opsets=(18, 23))
    if dtype in DTYPES.floats[:2]:
        assert [node.op_type for node in program.model.graph if node.op_type != "Cast"] == ["ThresholdedRelu"]
    check(keep, Spec((0, 3), dtype), opsets=(21,))
    check(keep, Spec((1,), dtype), opsets=(21,))


def test_float64_and_integers_are_left_to_exact_operators():
    with jax.enable_x64(True):
        check(lambda x: jnp.where(x > 0.1, x, 0), Spec(("B", 4), np.float64), absent=["ThresholdedRelu"])
    check(lambda x: jnp.where(x > 1, x, 0), Spec(("B", 4), np.int32), absent=["ThresholdedRelu"])


@pytest.mark.parametrize(
    "other",
    [
        lambda x: jnp.where(x >= 1, x, 0),
        lambda x: jnp.where(x <= 1, 0, x),
        lambda x: jnp.where(x > 1, x, 1),
        lambda x: jnp.where(x > 1, x, -0.0),
        lambda x: jnp.where(x < 1, x, 0),
        lambda x: jnp.where(jnp.abs(x) > 1, x, 0),
        lambda x: jnp.where(x > jnp.inf, x, 0),
        lambda x: jnp.where(x > jnp.arange(4.0), x, 0),
        lambda x: jnp.where(x[:1] > 1, x, 0),
    ],
    ids=["bound", "NaN", "one", "negative zero", "smaller", "size", "infinity", "thresholds", "broadcast"],
)
def test_declines_other_functions(other):
    special = np.float32([[0.0, -0.0, 1, -1], [2, -2, np.inf, -np.inf], [1, 2, 3, np.nan]])
    check(other, special, absent=["ThresholdedRelu"], opsets=(21,))
