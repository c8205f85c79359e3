"""Elu where it is what was written, and all digits where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, -20, -100, -1000, 1e30, -1e30], np.float32)
SMALL = np.array([-1e-2, -1e-4, -1e-8, -1e-20, 1e-20, 1e-8], np.float32)

WITH_EXP = {
    "larger than": (lambda x: jnp.where(x > 0, x, jnp.exp(x) - 1), "Selu"),
    "at least": (lambda x: jnp.where(x >= 0, x, jnp.exp(x) - 1), "Elu"),
    "scaled": (lambda x: jnp.where(x < 0, 1.7 * (jnp.exp(x) - 1), x), "Elu"),
    "at most": (lambda x: jnp.where(x <= 0, (jnp.exp(x) - 1) * 0.5, x), "Selu"),
    "of a minimum": (lambda x: jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1), "Selu"),
    "of a selection": (lambda x: jnp.where(x > 0, x, 2 * (jnp.exp(jnp.where(x > 0, 0, x)) - 1)), "Selu"),
    "jit": (jax.jit(lambda x: jnp.where(x >= 0, x, -1 + jnp.exp(x))), "Elu"),
    "vmap": (jax.vmap(lambda x: jnp.where(x >= 0, x, jnp.exp(x) - 1)), "Elu"),
}
# The most operators that each is.
WITH_EXPM1 = {
    "elu": (jax.nn.elu, 8),
    "elu of another slope": (lambda x: jax.nn.elu(x, 0.5), 9),
    "selu": (jax.nn.selu, 10),
    "celu": (jax.nn.celu, 8),
    "celu of another slope": (lambda x: jax.nn.celu(x, 2.0), 10),
    "by hand": (lambda x: jnp.maximum(x, 0) + 0.5 * jnp.expm1(jnp.minimum(x, 0)), 9),
    "jit": (jax.jit(jax.nn.elu), 8),
    "vmap": (jax.vmap(jax.nn.elu), 8),
}


@pytest.mark.parametrize("spelling", WITH_EXP)
def test_exp_is_one_operator(spelling):
    fn, op_type = WITH_EXP[spelling]
    program = check(fn, Spec(("N",)), args=(SPECIAL,))
    assert [node.op_type for node in program.model.graph] == [op_type]
    zeros = np.array([0.0, -0.0], np.float32)
    assert (np.signbit(program(zeros)) == np.signbit(fn(jnp.asarray(zeros)))).all()
    check(fn, Spec(("B", 50)), opsets=(21,), seed=1)


@pytest.mark.parametrize("spelling", WITH_EXPM1)
def test_expm1_keeps_all_digits(spelling):
    fn, most = WITH_EXPM1[spelling]
    program = check(fn, Spec(("N",)), args=(SPECIAL,), absent=["Elu", "Selu", "Celu", "Exp"])
    assert len(program.model.graph) <= most
    check(fn, Spec(("B", 50)), opsets=(21,), seed=1)
    np.testing.assert_allclose(program(SMALL), fn(jnp.asarray(SMALL)), rtol=1e-6)
    falling = -np.geomspace(1e-30, 80, 2000, dtype=np.float32)
    np.testing.assert_allclose(program(falling), fn(jnp.asarray(falling)), rtol=1e-6)


@pytest.mark.parametrize("fn", [jax.nn.elu, jax.nn.selu])
def test_zeros_keep_their_sign(fn):
    zeros = np.array([0.0, -0.0], np.float32)
    assert (np.signbit(check(fn, zeros)(zeros)) == np.signbit(fn(jnp.asarray(zeros)))).all()


@pytest.mark.parametrize("dtype", DTYPES.floats)
@pytest.mark.parametrize("fn", [jax.nn.elu, jax.nn.selu, jax.nn.celu, WITH_EXP["larger than"][0]])
def test_element_types_and_sizes(fn, dtype):
    check(fn, Spec(("B", "T"), dtype), opsets=(18, 23))
    check(fn, Spec((0, 3), dtype), opsets=(21,))
    check(fn, Spec((1,), dtype), opsets=(21,))


def test_float64():
    with jax.enable_x64(True):
        check(jax.nn.elu, Spec(("B", 4), np.float64), absent=["Elu", "Exp"])
        check(lambda x: jnp.where(x >= 0, x, jnp.exp(x) - 1), Spec(("B", 4), np.float64), absent=["Elu"])


def test_gradients():
    for fn in (jax.nn.elu, jax.nn.selu, jax.nn.celu, WITH_EXP["of a minimum"][0]):
        check(jax.value_and_grad(lambda x, fn=fn: fn(x).sum()), Spec(("B", 3)))


@pytest.mark.parametrize(
    "other",
    [
        lambda x: jnp.where(x > 1, x, jnp.exp(x) - 1),
        lambda x: jnp.where(x > 0, jnp.exp(x) - 1, x),
        lambda x: jnp.where(x > 0, x, jnp.exp(x) - 2),
        lambda x: jnp.where(x > 0, x, 1 - jnp.exp(x)),
        lambda x: jnp.where(x > 0, x, -2 * (jnp.exp(x) - 1)),
        lambda x: jnp.where(x > 0, x, jnp.exp(2 * x) - 1),
        lambda x: jnp.where(x > 0, x, jnp.exp(x[::-1]) - 1),
        lambda x: jnp.where(x > 0, x, jnp.exp(jnp.maximum(x, 0)) - 1),
        lambda x: jnp.where(x > 0, x, jnp.arange(4.0) * (jnp.exp(x) - 1)),
    ],
    ids=["bound", "exchanged", "two", "turned", "negative", "steeper", "another value", "maximum", "slopes"],
)
def test_declines_other_functions(other):
    check(other, Spec((3, 4)), absent=["Elu", "Selu", "Celu"], opsets=(21,))


@pytest.mark.parametrize(
    "argument",
    [
        lambda x: x,
        lambda x: jnp.maximum(x, 0),
        lambda x: jnp.minimum(x, 1),
        lambda x: -jnp.minimum(x, 0),
        lambda x: jnp.where(x < 0, 0, x),
        lambda x: jnp.where(x > 0, 1, x),
        lambda x: jnp.where(x > 0, 0, x[::-1]),
    ],
)
def test_expm1_of_positive_numbers_needs_exp(argument):
    far = np.float32([[0.0, -0.0, 1, -1], [20, -20, np.inf, -np.inf], [1e-8, 2, 80, np.nan]])
    check(lambda x: jnp.expm1(argument(x)), far, contains=["Exp"], opsets=(21,))
