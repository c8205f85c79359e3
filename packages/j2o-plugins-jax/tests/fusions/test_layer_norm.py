"""LayerNormalization from its formulas, with weight and bias inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

WEIGHT = np.linspace(0.5, 1.5, 8, dtype=np.float32)
BIAS = np.linspace(-1, 1, 8, dtype=np.float32)


def by_variance(x):
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def by_square_root(x):
    d = x - x.mean(-1, keepdims=True)
    return d / jnp.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)


def by_clamped_variance(x):
    d = x - x.mean(-1, keepdims=True)
    return d * jax.lax.rsqrt(jnp.maximum(jnp.mean(d**2, -1, keepdims=True), 0) + 1e-6)


def by_inverse(x):
    d = x - jnp.mean(x, -1, keepdims=True)
    return d * (1 / jnp.sqrt(jnp.mean(jnp.square(d), -1, keepdims=True) + 1e-5))


@pytest.mark.parametrize("formula", [by_variance, by_square_root, by_clamped_variance, by_inverse])
@pytest.mark.parametrize("shape", [(3, 8), ("B", 5, 8)])
def test_every_spelling_is_one_operator(formula, shape):
    program = check(lambda x: formula(x) * WEIGHT + BIAS, Spec(shape), contains=["LayerNormalization"], opsets=(18, 26))
    assert [node.op_type for node in program.model.graph] == ["LayerNormalization"]


def test_without_weight_and_bias():
    check(by_variance, Spec((3, 8)), contains=["LayerNormalization"], absent=["Mul", "Add"])


def test_over_several_last_axes():
    def norm(x):
        d = x - x.mean((1, 2), keepdims=True)
        return d / jnp.sqrt((d * d).mean((1, 2), keepdims=True) + 1e-5)

    check(norm, Spec((3, 4, 8)), contains=["LayerNormalization"], absent=["Sqrt"])


def test_declines_another_axis():
    def norm(x):
        d = x - x.mean(1, keepdims=True)
        return d / jnp.sqrt((d * d).mean(1, keepdims=True) + 1e-5)

    check(norm, Spec((3, 4, 8)), absent=["LayerNormalization"])


def test_declines_a_mean_over_other_axes_than_the_variance():
    def norm(x):
        d = x - x.mean(-1, keepdims=True)
        return d / jnp.sqrt((d * d).mean((1, 2), keepdims=True) + 1e-5)

    check(norm, Spec((3, 4, 8)), absent=["LayerNormalization"])


def test_a_weight_that_varies_along_rows_stays_outside():
    rows = np.linspace(0.5, 1.5, 3, dtype=np.float32)[:, None]
    check(lambda x: by_variance(x) * rows, Spec((3, 8)), contains=["LayerNormalization", "Mul"])


def test_a_normalised_value_with_two_readers_is_computed_once():
    program = check(
        lambda x: (by_variance(x) * WEIGHT, by_variance(x) + BIAS), Spec((3, 8)), contains=["LayerNormalization"]
    )
    assert sum(node.op_type == "LayerNormalization" for node in program.model.graph) == 1
