"""LayerNormalization from its formulas, with weight and bias inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx
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


def weight_in_the_scale(x):
    """As in Haiku."""
    inverse = WEIGHT * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5)
    return inverse * (x - jnp.mean(x, -1, keepdims=True)) + BIAS


def mean_of_squares(x):
    """As in Flax."""
    mean, square = jnp.mean(x, -1), jnp.mean(jax.lax.square(x), -1)
    scale = jax.lax.rsqrt(jnp.maximum(0.0, square - jax.lax.square(mean))[..., None] + 1e-6)
    return (x - mean[..., None]) * (scale * WEIGHT) + BIAS


def by_power(x):
    d = x - jnp.mean(x, -1, keepdims=True)
    return d * (jnp.mean(d**2, -1, keepdims=True) + 1e-5) ** -0.5 * WEIGHT + BIAS


def by_sums(x):
    d = x - (jnp.sum(x, -1) / x.shape[-1])[..., None]
    return BIAS + WEIGHT * (d / ((jnp.sum(d * d, -1) / x.shape[-1])[..., None] + 1e-5) ** 0.5)


def weight_in_front(x):
    """As in picoGPT."""
    return WEIGHT * (x - jnp.mean(x, -1, keepdims=True)) / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5) + BIAS


def all_written_out(x):
    """As Haiku really has it: each part has the shape of x."""
    mean, variance = (jnp.broadcast_to(part(x, -1, keepdims=True), x.shape) for part in (jnp.mean, jnp.var))
    weight, bias = (jnp.broadcast_to(part, x.shape) for part in (WEIGHT, BIAS))
    inverse = weight * jax.lax.rsqrt(variance + 1e-5)
    return inverse * (x - mean) + bias


OTHERS = [weight_in_the_scale, mean_of_squares, by_power, by_sums, weight_in_front, all_written_out]


@pytest.mark.parametrize("formula", OTHERS)
@pytest.mark.parametrize("shape", [(8,), (3, 8), ("B", 5, 8), (0, 8)])
def test_other_spellings_are_one_operator(formula, shape):
    program = check(formula, Spec(shape), opsets=(18, 23))
    assert [node.op_type for node in program.model.graph] == ["LayerNormalization"] or 0 in shape


@pytest.mark.parametrize("formula", OTHERS)
def test_extremes(formula):
    rows = [[0] * 8, [3] * 8, [1e-20] * 8, [np.nan, *range(7)], [np.inf, *range(7)], [-np.inf, np.inf, *range(6)]]
    check(formula, np.array([*rows, range(8)], np.float32), contains=["LayerNormalization"], opsets=(18, 23))


def test_standardize():
    check(jax.nn.standardize, Spec(("B", 8)), contains=["LayerNormalization"], absent=["Sub"], opsets=(18, 23))


def test_where_the_difference_of_squares_cancels_it_is_nearer_to_the_truth():
    x = (10 + 0.1 * np.random.default_rng(0).standard_normal((4, 8))).astype(np.float32)
    wide = x.astype(np.float64)
    d = wide - wide.mean(-1, keepdims=True)
    truth = d / np.sqrt(d.var(-1, keepdims=True) + 1e-6) * WEIGHT + BIAS
    program = to_onnx(mean_of_squares, [x])
    assert np.abs(program(x) - truth).max() <= np.abs(np.asarray(jax.jit(mean_of_squares)(x)) - truth).max()


def test_a_size_of_one():
    def fn(x):
        d = x - jnp.mean(x, -1, keepdims=True)
        return d * jax.lax.rsqrt(jnp.mean(d * d, -1, keepdims=True) + 1e-5)

    check(fn, Spec(("B", 1)), opsets=(18, 23))


def _mean(x, axis=-1):
    return jnp.mean(x, axis, keepdims=True)


NO_NORMS = {
    "epsilon outside of the root": lambda x: (x - _mean(x)) / (jnp.std(x, -1, keepdims=True) + 1e-5),
    "squares taken off": lambda x: (x - _mean(x)) * jax.lax.rsqrt(_mean(x) ** 2 - _mean(x * x) + 9),
    "square of another mean": lambda x: (x - _mean(x)) * jax.lax.rsqrt(_mean(x * x) - _mean(x, 0) ** 2 + 9),
    "another power": lambda x: (x - _mean(x)) * (jnp.var(x, -1, keepdims=True) + 1e-5) ** -0.4,
    "times the root": lambda x: (x - _mean(x)) * jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5),
    "variance of another value": lambda x: (
        (x - _mean(x)) * jax.lax.rsqrt(jnp.var(jnp.tanh(x), -1, keepdims=True) + 1e-5)
    ),
    "weight along rows in the scale": lambda x: (
        (x - _mean(x))
        * (jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5) * np.arange(8.0, dtype=np.float32)[:, None])
    ),
    "weight along rows in front": lambda x: (
        np.arange(8.0, dtype=np.float32)[:, None] * (x - _mean(x)) / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5)
    ),
    "squares in front": lambda x: (x - _mean(x)) ** 2 / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5),
    "one row's scale for all": lambda x: (x - _mean(x)) * jax.lax.rsqrt(jnp.var(x, -1) + 1e-5),
}


@pytest.mark.parametrize("name", NO_NORMS)
def test_declines_what_only_looks_like_it(name):
    check(NO_NORMS[name], Spec((8, 8)), absent=["LayerNormalization"], opsets=(18, 23))


def test_declines_a_difference_of_squares_in_half_and_double_precision(x64):
    def fn(x):
        variance = jnp.maximum(_mean(x * x) - _mean(x) ** 2, 0)
        return (x - _mean(x)) * jax.lax.rsqrt(variance + 1e-3)

    for dtype in (np.float16, np.float64):
        check(fn, Spec((3, 8), dtype), absent=["LayerNormalization"], opsets=(18, 23))


def test_float64_is_left_to_exact_operators():
    """The operator's epsilon is a float32."""
    with jax.enable_x64(True):
        x = np.random.default_rng(0).standard_normal((3, 8)) * 1e-3
        check(by_variance, x, absent=["LayerNormalization"])
        check(by_variance, Spec(("B", 8), np.float64), absent=["LayerNormalization"])


def _normal(x):
    return (x - x.mean(keepdims=True)) * jax.lax.rsqrt(x.var(keepdims=True) + 1e-5) * jnp.arange(1.0, 6)


@pytest.mark.parametrize("batch", ["B", 2])
def test_is_one_operator_under_vmap_of_other_axes(batch):
    of_columns = jax.vmap(_normal, in_axes=1, out_axes=1)
    of_images = jax.vmap(jax.vmap(jax.vmap(_normal, 1, 1), 1, 1))
    for fn, shape in ((of_columns, (5, batch)), (of_images, (batch, 5, 3, 4)), (of_images, (batch, 5, 5, 5))):
        found = [node.op_type for node in check(fn, Spec(shape)).model.graph]
        assert found == ["Transpose", "LayerNormalization", "Transpose"]


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x.swapaxes(1, 2) - x.mean(1)[:, None],
        lambda x: x.swapaxes(1, 2) - x.mean(2)[..., None],
        lambda x: x.transpose(2, 1, 0) - x.mean(0)[..., None],
        lambda x: (x.swapaxes(1, 2) - x.max(1)[..., None], x.max(1)),
        lambda x: x.swapaxes(1, 2) - x.sum((0, 1))[..., None],
    ],
)
def test_reductions_beside_a_transpose(other):
    check(other, Spec((5, 5, 5)))
    check(other, Spec((5, 5, 1)), opsets=(21,))
