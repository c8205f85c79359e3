"""Keras models on the JAX backend: their layers know nothing of j2o."""

import os

import jax
import jax.numpy as jnp
import pytest

import j2o_core
from j2o_core import SpecError
from j2o_core.testing import check
from j2o_plugins_jax import keras_export, keras_function

os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it when it is imported
keras = pytest.importorskip("keras")
layers = keras.layers


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
    check(keras_function(model), spec, opsets=(21,))


def test_attention_of_two_inputs():
    query, value = keras.Input((None, 8)), keras.Input((None, 8))
    model = keras.Model([query, value], layers.MultiHeadAttention(2, 4)(query, value))
    check(keras_function(model), [("B", "T", 8), ("B", "S", 8)], opsets=(21,))


def test_words_that_are_masked_do_not_count():
    """Words of zero end a sentence: what follows changes nothing."""
    model = keras.Sequential([layers.Embedding(20, 8, mask_zero=True), layers.Bidirectional(layers.LSTM(4))])
    model.build((None, None))
    program = j2o_core.to_onnx(keras_function(model), [WORDS])
    words = jnp.array([[3, 5, 7]], jnp.int32)
    padded = jnp.pad(words, ((0, 0), (0, 4)))
    assert jnp.allclose(program(words), program(padded), atol=1e-6)


def test_a_model_is_exported_with_its_own_inputs(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="words"),
            layers.Embedding(20, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(4)),
        ]
    )
    program = keras_export(model, tmp_path / "reader.onnx")
    program.verify()
    assert (tmp_path / "reader.onnx").exists()
    assert [str(value.shape) for value in program.model.graph.inputs] == ["[B,words_1]"]
    words = jnp.array([[3, 5, 7]], jnp.int32)
    assert jnp.allclose(program(words), model(words), atol=1e-6)


@pytest.mark.parametrize("form", [list, dict])
def test_several_inputs_are_one_argument(tmp_path, form):
    query, value = keras.Input((None, 8), name="query"), keras.Input((5, 8), name="value")
    inputs = [query, value] if form is list else {"query": query, "value": value}
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4)(query, value))
    program = keras_export(model, tmp_path / "attention.onnx", opset=23)
    program.verify()
    assert program.input_names == ["query", "value"]
    assert [str(value.shape) for value in program.model.graph.inputs] == ["[B,query_1,8]", "[B,5,8]"]


def test_a_subclass_needs_the_specs_of_its_arguments(tmp_path):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.head = layers.BatchNormalization(), layers.Dense(2)

        def call(self, x, training=False):
            return self.head(self.norm(x, training=training))

    model = Net()
    model(jnp.ones((1, 3)))
    with pytest.raises(SpecError, match="does not say what its inputs are"):
        keras_export(model, tmp_path / "net.onnx")
    keras_export(model, tmp_path / "net.onnx", [("N", 3)], input_names=["x"]).verify()
    assert (tmp_path / "net.onnx").exists()


def test_another_backend_is_refused(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(SpecError, match=r"Keras runs on torch.*KERAS_BACKEND=jax"):
        keras_export(model, tmp_path / "net.onnx")
