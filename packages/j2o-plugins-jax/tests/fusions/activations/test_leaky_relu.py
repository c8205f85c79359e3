"""LeakyRelu, whatever the spelling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import DTYPES, Spec, check

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -1, 3, -0.1, 1e30, -1e30, -1e-30], np.float32)

SPELLINGS = {
    "jax": jax.nn.leaky_relu,
    "another slope": lambda x: jax.nn.leaky_relu(x, 0.3),
    "steep": lambda x: jax.nn.leaky_relu(x, 2.0),
    "downwards": lambda x: jax.nn.leaky_relu(x, -0.5),
    "larger than": lambda x: jnp.where(x > 0, x, x * 0.2),
    "smaller than": lambda x: jnp.where(x < 0, 0.2 * x, x),
    "at most": lambda x: jnp.where(x <= 0, 0.2 * x, x),
    "number first": lambda x: jnp.where(jnp.less_equal(0.0, x), x, 0.2 * x),
    "divided": lambda x: jnp.where(x > 0, x, x / 4),
    "factor": lambda x: x * jnp.where(x > 0, 1.0, 0.2),
    "factor first": lambda x: jnp.where(x < 0, 0.2, 1.0) * x,
    "maximum": lambda x: jnp.maximum(x, 0.2 * x),
    "maximum, line first": lambda x: jnp.maximum(x * 0.2, x),
    "layer": eqx.nn.PReLU(0.25),
    "jit": jax.jit(jax.nn.leaky_relu),
    "vmap": jax.vmap(jax.nn.leaky_relu),
    "vmap of a layer": jax.vmap(eqx.nn.PReLU(0.25)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_one_operator(spelling):
    program = check(SPELLINGS[spelling], Spec(("N",)), args=(SPECIAL,))
    assert [node.op_type for node in program.model.graph] == ["LeakyRelu"]
    zeros = np.array([0.0, -0.0], np.float32)
    assert (np.signbit(program(zeros)) == np.signbit(SPELLINGS[spelling](jnp.asarray(zeros)))).all()
    check(SPELLINGS[spelling], Spec(("B", 50)), opsets=(21,), seed=1)


@pytest.mark.parametrize("dtype", DTYPES.floats)
def test_element_types_and_sizes(dtype):
    program = check(jax.nn.leaky_relu, Spec(("B", "T"), dtype), opsets=(18, 23))
    if dtype in DTYPES.floats[:2]:
        assert [node.op_type for node in program.model.graph if node.op_type != "Cast"] == ["LeakyRelu"]
    check(jax.nn.leaky_relu, Spec((0, 3), dtype), opsets=(21,))
    check(jax.nn.leaky_relu, Spec((1,), dtype), opsets=(21,))


def test_of_a_value_that_is_a_product_itself():
    check(lambda x: jax.nn.leaky_relu(2 * x), Spec((3, 4)), contains=["LeakyRelu"], absent=["Where"])
    check(lambda x: jnp.maximum(x / 3, 0.1 * (x / 3)), Spec((3, 4)), contains=["LeakyRelu"], absent=["Max"])


def test_primal_of_a_gradient():
    check(jax.value_and_grad(lambda x: jax.nn.leaky_relu(x).sum()), Spec(("B", 3)), contains=["LeakyRelu"])


def test_float64_is_left_to_exact_operators():
    with jax.enable_x64(True):
        check(jax.nn.leaky_relu, Spec(("B", 4), np.float64), contains=["Where"], absent=["LeakyRelu"])


@pytest.mark.parametrize(
    "other",
    [
        lambda x: jnp.where(x > 1, x, 0.2 * x),
        lambda x: jnp.where(x > 0, 0.2 * x, x),
        lambda x: jnp.where(x > 0, x, 0.2 * x[::-1]),
        lambda x: jnp.where(x[::-1] > 0, x, 0.2 * x),
        lambda x: jnp.where(x > 0, x, x),
        lambda x: jnp.where(x > 0, x, 0.2 + x),
        lambda x: jnp.where(x > 0, x, 2 / x),
        lambda x: jnp.where(x > 0, x, -0.2 * x),
        lambda x: jnp.where(x > jnp.arange(4.0), x, 0.2 * x),
        lambda x: x * jnp.where(x > 0, 2.0, 0.2),
        lambda x: x[::-1] * jnp.where(x > 0, 1.0, 0.2),
        lambda x: x * jnp.where(x > 0, 1.0, jnp.arange(4.0)),
        lambda x: jnp.maximum(x, 2 * x),
        lambda x: jnp.maximum(x, -0.5 * x),
        lambda x: jnp.maximum(x, 0.5 * x[::-1]),
        lambda x: jnp.minimum(x, 0.5 * x),
        lambda x: jnp.where(x[:1] > 0, x, 0.2 * x),
        lambda x: jnp.ones((2, 3, 4)) * jnp.where(x > 0, 1.0, 0.2),
        lambda x: jax.vmap(eqx.nn.PReLU(jnp.arange(4.0)))(x),
    ],
)
def test_declines_other_functions(other):
    check(other, Spec((3, 4)), absent=["LeakyRelu"], opsets=(21,))
    check(other, np.float32([[0.0, -0.0, 1, -1], [2, -2, np.inf, -np.inf], [1, 2, 3, np.nan]]), opsets=(21,))


def test_a_slope_that_is_an_input_stays():
    check(lambda x, slope: jax.nn.leaky_relu(x, slope), Spec((3, 4)), Spec(()), absent=["LeakyRelu"])
