"""Keras models on the JAX backend: their layers know nothing of j2o."""

import functools
import os

import jax
import jax.numpy as jnp
import pytest

import j2o_core
from j2o_core.testing import check

os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it when it is imported
keras = pytest.importorskip("keras")
layers = keras.layers


def as_function(model):
    """A model in inference as a function that holds its weights, as docs/other-libraries.md has it."""

    def call(weights, *inputs):
        trainable = [weights[variable.path] for variable in model.trainable_variables]
        others = [weights[variable.path] for variable in model.non_trainable_variables]
        outputs, _ = model.stateless_call(trainable, others, *inputs, training=False)
        return outputs

    return functools.partial(call, {variable.path: variable.value for variable in model.variables})


IMAGE = ("B", 16, 16, 3)
WORDS = jax.ShapeDtypeStruct(("B", "T"), jnp.int32)
MODELS = {
    "dense": (lambda: [layers.Dense(8, activation="gelu"), layers.BatchNormalization(), layers.Dense(3)], ("B", 4)),
    "images": (
        lambda: [
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(6, 3, activation="silu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ],
        IMAGE,
    ),
    "masked LSTM in both directions": (
        lambda: [layers.Embedding(20, 8, mask_zero=True), layers.Bidirectional(layers.LSTM(4)), layers.Dense(3)],
        WORDS,
    ),
    "stacked GRU, masked": (
        lambda: [
            layers.Embedding(20, 8, mask_zero=True),
            layers.GRU(4, return_sequences=True),
            layers.GRU(4, go_backwards=True),
        ],
        WORDS,
    ),
    "norms": (lambda: [layers.LayerNormalization(), layers.Dense(8), layers.GroupNormalization(2)], ("B", 4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    make, spec = MODELS[name]
    keras.utils.set_random_seed(0)
    model = keras.Sequential(make())
    shape = spec.shape if isinstance(spec, jax.ShapeDtypeStruct) else spec
    model.build(tuple(None if isinstance(size, str) else size for size in shape))
    check(as_function(model), spec, opsets=(21,))


def test_attention_of_two_inputs():
    query, value = keras.Input((None, 8)), keras.Input((None, 8))
    model = keras.Model([query, value], layers.MultiHeadAttention(2, 4)(query, value))
    check(as_function(model), [("B", "T", 8), ("B", "S", 8)], opsets=(21,))


def test_words_that_are_masked_do_not_count():
    """Words of zero end a sentence: what follows changes nothing."""
    model = keras.Sequential([layers.Embedding(20, 8, mask_zero=True), layers.Bidirectional(layers.LSTM(4))])
    model.build((None, None))
    program = j2o_core.to_onnx(as_function(model), [WORDS])
    words = jnp.array([[3, 5, 7]], jnp.int32)
    padded = jnp.pad(words, ((0, 0), (0, 4)))
    assert jnp.allclose(program(words), program(padded), atol=1e-6)
