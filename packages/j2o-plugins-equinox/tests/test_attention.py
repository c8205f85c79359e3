"""Attention of Equinox: what it becomes by opset, with rotated heads and with masks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from j2o_core.testing import Spec, check


def key(number=0):
    return jax.random.key(number)


@pytest.mark.parametrize("opset", [18, 21, 23])
@pytest.mark.parametrize("length", [5, "T"])
def test_multihead_attention(opset, length):
    layer = eqx.nn.MultiheadAttention(4, 16, use_query_bias=True, key=key())
    function = jax.vmap(lambda x: layer(x, x, x))
    check(function, Spec(("B", length, 16)), opsets=(opset,), contains=["Attention" if opset >= 23 else "Softmax"])


def test_multihead_attention_with_rotary_heads():
    layer = eqx.nn.MultiheadAttention(4, 32, key=key())
    rope = eqx.nn.RotaryPositionalEmbedding(8)

    def process_heads(q, k, v):
        return jax.vmap(rope, 1, 1)(q), jax.vmap(rope, 1, 1)(k), v

    check(
        jax.vmap(lambda x: layer(x, x, x, process_heads=process_heads)),
        Spec(("B", 5, 32)),
        opsets=(21, 23),
        contains=["Attention", "RotaryEmbedding"],
        absent=["Transpose", "Split"],
    )


def test_masked_multihead_attention():
    layer = eqx.nn.MultiheadAttention(4, 16, key=key())
    mask = jnp.tril(jnp.ones((5, 5), bool))
    check(jax.vmap(lambda x: layer(x, x, x, mask=mask)), Spec(("B", 5, 16)), opsets=(18, 23))
