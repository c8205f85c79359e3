"""Unmodified `eqx.nn` layers: parity with JAX, the operators that they become, the names of their weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check


def key(number=0):
    return jax.random.key(number)


LAYERS = {
    "Linear": (lambda: eqx.nn.Linear(6, 4, key=key()), (6,), ["MatMul", "Add"]),
    "Linear without bias": (lambda: eqx.nn.Linear(6, 4, use_bias=False, key=key()), (6,), ["MatMul"]),
    "scalar Linear": (lambda: eqx.nn.Linear("scalar", "scalar", key=key()), (), []),
    "MLP": (lambda: eqx.nn.MLP(6, 3, 8, 2, jax.nn.gelu, key=key()), (6,), ["MatMul", "Add"]),
    "Conv2d": (lambda: eqx.nn.Conv2d(3, 4, 3, 2, 1, key=key()), (3, 8, 9), ["Conv"]),
    "depthwise Conv2d": (lambda: eqx.nn.Conv2d(4, 4, 3, groups=4, key=key()), (4, 8, 9), ["Conv"]),
    "Conv1d": (lambda: eqx.nn.Conv1d(3, 4, 3, dilation=2, key=key()), (3, 9), ["Conv"]),
    "LayerNorm": (lambda: eqx.nn.LayerNorm(8), (8,), ["LayerNormalization"]),
    "LayerNorm over two axes": (lambda: eqx.nn.LayerNorm((4, 8)), (4, 8), ["LayerNormalization"]),
    "RMSNorm": (lambda: eqx.nn.RMSNorm(8), (8,), []),
    "GroupNorm": (lambda: eqx.nn.GroupNorm(2, 4), (4, 5, 5), []),
    "Embedding": (lambda: eqx.nn.Embedding(10, 4, key=key()), None, ["Gather"]),
    "RotaryPositionalEmbedding": (lambda: eqx.nn.RotaryPositionalEmbedding(8), (5, 8), []),
    "Dropout in inference": (lambda: eqx.nn.Dropout(0.5, inference=True), (5,), []),
    "Sequential": (
        lambda: eqx.nn.Sequential([eqx.nn.Linear(6, 4, key=key()), eqx.nn.Lambda(jax.nn.relu)]),
        (6,),
        ["MatMul", "Relu"],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [None, 3, "B"])
def test_layer(name, batch):
    make, shape, operators = LAYERS[name]
    layer = make()
    if shape is None:
        indices = np.array([[0, 3, 9], [2, 2, 1]], np.int32)
        check(jax.vmap(jax.vmap(layer)), indices, contains=operators, opsets=(18, 26))
        return
    function = layer if batch is None else jax.vmap(layer)
    spec = Spec(shape if batch is None else (batch, *shape))
    # A vector has no rows to multiply: what a layer becomes is told by its batched form.
    check(function, spec, contains=operators if batch is not None else [], opsets=(18, 26))


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
        contains=["Attention"],
    )


def test_masked_multihead_attention():
    layer = eqx.nn.MultiheadAttention(4, 16, key=key())
    mask = jnp.tril(jnp.ones((5, 5), bool))
    check(jax.vmap(lambda x: layer(x, x, x, mask=mask)), Spec(("B", 5, 16)), opsets=(18, 23))


def test_weights_carry_their_path():
    model = eqx.nn.MLP(6, 3, 8, 1, key=key())
    program = check(jax.vmap(model), Spec(("B", 6)), opsets=(21,))
    assert {
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    } <= set(program.model.graph.initializers)


def test_a_batch_that_jax_rejects_is_rejected():
    from j2o_core import TraceError, to_onnx

    with pytest.raises(TraceError, match="JAX cannot trace"):
        to_onnx(eqx.nn.Linear(6, 4, key=key()), [(3, 6)])
