"""RMS normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

WEIGHT = np.linspace(0.5, 2, 12, dtype=np.float32)


def by_rsqrt(x):
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * WEIGHT


def by_root(x):
    return WEIGHT * (x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6))


one_row = jax.vmap(lambda x: WEIGHT * (x * jax.lax.rsqrt(jnp.mean(x * x) + 1e-6)))


def weight_in_the_scale(x):
    """As in Flax and Haiku."""
    scale = jax.lax.rsqrt(jnp.mean(jax.lax.square(x), -1)[..., None] + 1e-6)
    return x * (scale * WEIGHT)


def by_power(x):
    return WEIGHT * ((jnp.mean(x**2, -1, keepdims=True) + 1e-6) ** -0.5 * x)


def weight_in_front(x):
    return WEIGHT * x * (1 / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6))


def weight_in_front_of_the_root(x):
    return WEIGHT * x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)


def all_written_out(x):
    """As Haiku really has it: each part has the shape of x."""
    square = jnp.broadcast_to(jnp.mean(jnp.square(x), -1, keepdims=True), x.shape)
    return x * (jax.lax.rsqrt(square + 1e-6) * jnp.broadcast_to(WEIGHT, x.shape))


SPELLINGS = [
    *(by_rsqrt, by_root, one_row, weight_in_the_scale, by_power),
    *(weight_in_front, weight_in_front_of_the_root, all_written_out),
]


@pytest.mark.parametrize("fn", SPELLINGS)
def test_is_one_operator_from_opset_23_on(fn):
    program = check(fn, Spec(("B", 12)), opsets=(23, 26))
    assert [node.op_type for node in program.model.graph] == ["RMSNormalization"]


@pytest.mark.parametrize("fn", SPELLINGS)
def test_below_it_is_what_the_runtime_merges(fn):
    program = check(fn, Spec(("B", 12)), opsets=(18, 21))
    names = [node.op_type for node in program.model.graph]
    assert names == ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]


def test_several_axes_and_no_weight():
    def fn(x):
        return x * jax.lax.rsqrt(jnp.mean(x * x, (-2, -1), keepdims=True) + 0.1)

    check(fn, Spec(("B", 3, 4)), contains=["RMSNormalization"], absent=["Mul"], opsets=(21, 23))


def test_extremes():
    x = np.array([[0] * 12, [1e-20] * 12, [1e15, *range(1, 12)], [np.nan, *range(1, 12)]], np.float32)
    check(by_rsqrt, x, contains=["RMSNormalization"], opsets=(21, 23))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x * jax.lax.rsqrt(jnp.mean(x * x, 0, keepdims=True) + 1e-6),
        lambda x: x * jax.lax.rsqrt(jnp.mean(x * (x + 1) + 5, -1, keepdims=True) + 1e-6),
        lambda x: jnp.tanh(x) * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6),
        lambda x: x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True)),
        lambda x: x * jax.lax.rsqrt(jnp.mean(x * x, -1) + 1e-6),
        lambda x: jnp.arange(12.0)[:, None] * x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6),
        lambda x: WEIGHT * x / jnp.sqrt(jnp.mean((WEIGHT * x) * x, -1, keepdims=True) + 1e-6),
    ],
    ids=[
        *("first axis", "no square", "another value", "no epsilon", "along another axis"),
        *("weight along rows in front", "weight in the square"),
    ],
)
def test_declines(fn):
    check(fn, Spec((12, 12)), absent=["RMSNormalization"], opsets=(21, 23))


def test_declines_double_precision(x64):
    def fn(x):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)

    check(fn, Spec((3, 12), np.float64), absent=["RMSNormalization"], opsets=(23,))


def test_a_layer_norm_stays_one():
    def fn(x):
        d = x - jnp.mean(x, -1, keepdims=True)
        return d * jax.lax.rsqrt(jnp.mean(d * d, -1, keepdims=True) + 1e-6) * WEIGHT

    check(fn, Spec((3, 12)), contains=["LayerNormalization"], absent=["RMSNormalization"], opsets=(21, 23))


def test_a_result_that_is_read_elsewhere_keeps_its_weight_apart():
    def fn(x):
        y = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
        return y, y * WEIGHT

    check(fn, Spec((3, 12)), contains=["RMSNormalization", "Mul"], opsets=(21, 23))
