"""Numbers for each channel behind a product go into its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check, expect_graph


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


W, B, G = normal(6, 4), normal(4, seed=1), normal(4, seed=2)


def test_layer_scale_is_in_weight_and_bias():
    program = check(lambda x: x + (jnp.tanh(x) @ normal(4, 4) + B) * G, Spec(("B", 3, 4)), opsets=(21,))
    expect_graph(program, "x:f32[B,3,4] -> Tanh -> MatMul(f32[4,4]) -> Add(B.scaled) -> Add(x, _) -> output")


@pytest.mark.parametrize(
    "fn", [lambda x: (x @ W) * G, lambda x: G[None] * (B + x @ W), lambda x: (x @ W + B) / (1 + G * G)]
)
def test_is_a_product_with_at_most_a_bias(fn):
    check(fn, Spec(("B", 3, 6)), absent=["Mul", "Div"])


def test_double_precision(x64):
    w, g = W.astype(np.float64), G.astype(np.float64)
    check(lambda x: (x @ w) * g, Spec((3, 6), np.float64), absent=["Mul"], opsets=(21,))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: ((y := x @ W) * G, y),
        lambda x: ((y := x @ W + B) * G) + y,
        lambda x: (x @ W) * G + (x * 2) @ W,
        lambda x: (x @ W) * normal(3, 4),
        lambda x: (x @ W) * normal(3, 1),
        lambda x: (x @ W) * 0.5,
        lambda x: (x @ W) * (G * 1e-37),
        lambda x: (x @ W) * np.array([1, 2, np.inf, 0], np.float32),
    ],
    ids=["result", "reader", "weight", "rows too", "rows", "one number", "underflow", "infinite"],
)
def test_declines(fn):
    check(fn, Spec((3, 6)), contains=["Mul"], opsets=(21,))


def test_declines_half_precision():
    w, g = W.astype(np.float16), G.astype(np.float16)
    check(lambda x: (x @ w) * g, Spec((3, 6), np.float16), contains=["Mul"], opsets=(21,))


def batch_norm(y, mean, variance, weight, bias):
    shape = (-1, *[1] * (y.ndim - 2))
    scale = weight / np.sqrt(variance + 1e-5)
    return (y - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("with_bias", [False, True])
def test_batch_norm_is_in_the_convolution(groups, with_bias):
    kernel = normal(6, 4 // groups, 3, 3)
    statistics = normal(6, seed=1), normal(6, seed=2) ** 2, normal(6, seed=3), normal(6, seed=4)

    def fn(x):
        y = lax.conv(x, kernel, (1, 1), "SAME") if groups == 1 else grouped(x)
        return jnp.maximum(batch_norm(y + B6 if with_bias else y, *statistics), 0)

    B6 = normal(6, 1, 1, seed=5)

    def grouped(x):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=groups)

    program = check(fn, Spec(("B", 4, 5, 5)), opsets=(21,))
    assert [node.op_type for node in program.model.graph] == ["Conv", "Relu"]


def test_transposed_convolution():
    kernel, scale = normal(3, 3, 4, 6), normal(6, 1, 1, seed=1)
    numbers = ("NCHW", "HWIO", "NCHW")

    def fn(x):
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers) * scale

    check(fn, Spec((2, 4, 5, 5)), absent=["Mul"], opsets=(21,))


def test_a_convolution_that_is_read_elsewhere_stays():
    kernel, scale = normal(6, 4, 3, 3), normal(6, 1, 1, seed=1)

    def fn(x):
        y = lax.conv(x, kernel, (1, 1), "SAME")
        return y * scale, y + 1 / scale

    check(fn, Spec((2, 4, 5, 5)), contains=["Mul", "Add"], opsets=(21,))


def test_gradient_of_layer_scale():
    def loss(x, g):
        return jnp.sum(((x @ W) * g) ** 2)

    check(jax.grad(loss, (0, 1)), Spec((3, 6)), Spec((4,)), opsets=(21,))
