"""The report says why attention, norms, rotary embeddings and activations stayed decomposed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core.testing import Spec

Q = Spec((2, 4, 8))


def near_misses(fn, *specs, opset=23, **options):
    """The lines of the report without their places."""
    shapes = [jax.ShapeDtypeStruct(spec.shape, spec.dtype) for spec in specs]
    lines = j2o_core.to_onnx(fn, shapes, opset=opset, **options).report().splitlines()
    first = next((place for place, line in enumerate(lines) if line.startswith("decomposed")), None)
    if first is None:
        return []
    count = int(lines[first].split()[1])
    found = lines[first + 1 : first + 1 + count]
    assert all("test_declined.py:" in line for line in found)
    return [line.strip().partition(" (")[0] for line in found]


def attention(q, k, v, scale=0.5):
    return jax.nn.softmax(q @ k.mT * scale) @ v


def normalised(x, axis, epsilon=1e-5):
    d = x - x.mean(axis, keepdims=True)
    return d / jnp.sqrt((d * d).mean(axis, keepdims=True) + epsilon)


def rms(x, axis=-1):
    return x / jnp.sqrt((x * x).mean(axis, keepdims=True) + 1e-6)


def turned(x, table):
    a, b = jnp.split(x, 2, -1)
    return x * jnp.cos(table) + jnp.concatenate([-b, a], -1) * jnp.sin(table)


def test_what_is_fused_has_no_reason():
    assert near_misses(lambda q, k, v: normalised(attention(q, k, v), -1), Q, Q, Q) == []


def shows_weights(q, k, v):
    weights = jax.nn.softmax(q @ k.mT * 0.5)
    return weights @ v, weights


def shows_scores(q, k, v):
    scores = q @ k.mT
    return jax.nn.softmax(scores) @ v, scores


def bias_behind_mask(q, k, v):
    scores = jnp.where(jnp.tril(jnp.ones((4, 4), bool)), q @ k.mT, -1e9)
    return jax.nn.softmax(scores + q[:, :, :4]) @ v


ATTENTION = {
    "the weights are read elsewhere": shows_weights,
    "the scores are read elsewhere": shows_scores,
    "the scale is -0.5, not positive and finite": lambda q, k, v: attention(q, k, v, -0.5),
    "the axis of the softmax is not that of the keys in both products": lambda q, k, v: (
        jax.nn.softmax(q @ k.mT, axis=-2) @ v
    ),
    "a bias is added behind a mask: add it to the scores before": bias_behind_mask,
    "the scores go through more than scales, one softcap, biases and masks": lambda q, k, v: (
        jax.nn.softmax(jnp.tanh(jnp.tanh(q @ k.mT))) @ v
    ),
    "masks put different numbers, or numbers that are not low, in place of scores": lambda q, k, v: (
        jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((4, 4), bool)), q @ k.mT, -5.0)) @ v
    ),
}


@pytest.mark.parametrize(("reason", "fn"), ATTENTION.items(), ids=list(range(len(ATTENTION))))
def test_attention(reason, fn):
    assert near_misses(fn, Q, Q, Q) == [f"Attention: {reason}"]


def test_attention_by_the_options_of_the_export():
    operator = "Attention: the operator"
    assert near_misses(attention, Q, Q, Q, opset=21) == [f"{operator} begins with opset 23, the program has 21"]
    exact = near_misses(attention, Q, Q, Q, nonfinite="exact")
    assert exact == [f'{operator} is not exact for NaN and infinities: nonfinite="exact"']


def test_layers_that_are_alike_are_one_line():
    def layers(q, k, v):
        return attention(attention(q, k, v), k, v)

    lines = j2o_core.to_onnx(layers, [Q.shape] * 3, opset=21).report().splitlines()
    (line,) = [line for line in lines if "Attention: " in line]
    assert line.endswith(", 2 times")


@pytest.mark.parametrize(
    ("reason", "fn", "spec"),
    [
        ("LayerNormalization: the mean is not over the last axes", lambda x: normalised(x, 1), Q),
        ("LayerNormalization: the dtype is DOUBLE", lambda x: normalised(x, -1), Spec((2, 4, 8), np.float64)),
        ("RMSNormalization: the mean of squares is not over the last axes", lambda x: rms(x, 1), Q),
        ("RMSNormalization: the dtype is DOUBLE", rms, Spec((2, 4, 8), np.float64)),
    ],
)
def test_norms(reason, fn, spec, x64):
    assert near_misses(fn, spec) == [reason]


def test_rotary_embeddings():
    tables = np.repeat(np.arange(12, dtype=np.float32).reshape(3, 4), 2, 0).reshape(1, 3, 2, 4)
    halves = np.concatenate([tables, tables], -1).transpose(0, 2, 1, 3)
    by_head = halves + np.arange(2, dtype=np.float32).reshape(1, 2, 1, 1)
    reason = "the tables differ within a pair, vary by head, or do not vary by position alone"
    assert near_misses(lambda x: turned(x, by_head), Spec((1, 2, 3, 8))) == [f"RotaryEmbedding: {reason}"]


@pytest.mark.parametrize(
    ("reason", "fn", "dtype"),
    [
        ("Gelu: x is multiplied by 0.7, not 0.707107", lambda x: 0.5 * x * (1 + jax.lax.erf(x * 0.7)), np.float32),
        (
            "Gelu: x**3 is multiplied by 0.05, not 0.044715",
            lambda x: 0.5 * x * (1 + jnp.tanh(0.7978846 * (x + 0.05 * x * x * x))),
            np.float32,
        ),
        ("Elu: the dtype is DOUBLE", lambda x: jnp.where(x >= 0, x, jnp.exp(x) - 1), np.float64),
        ("Elu: alpha is -1, not positive", lambda x: jnp.where(x >= 0, x, -1.0 * (jnp.exp(x) - 1)), np.float32),
        ("LeakyRelu: the dtype is DOUBLE", lambda x: jnp.where(x >= 0, x, 0.1 * x), np.float64),
        (
            "LeakyRelu: x > 0 with a negative slope turns the sign of zeros: use x >= 0",
            lambda x: jnp.where(x > 0, x, -0.1 * x),
            np.float32,
        ),
        (
            "ThresholdedRelu: NaN or the threshold itself is kept: use x > threshold",
            lambda x: jnp.where(x >= 1, x, 0),
            np.float32,
        ),
        ("Softsign: the target has no kernel for DOUBLE", lambda x: x / (1 + jnp.abs(x)), np.float64),
        ("Sigmoid: the dtype is DOUBLE", lambda x: x / (1 + jnp.exp(-x)), np.float64),
        ("HardSigmoid: the dtype is DOUBLE", lambda x: jnp.clip(x / 6 + 0.5, 0, 1), np.float64),
        ("Softmax: the sum is over several axes", lambda x: jax.nn.softmax(x, (0, 1)), np.float32),
    ],
)
def test_activations(reason, fn, dtype, x64):
    assert near_misses(fn, Spec((3, 4), dtype)) == [reason]
