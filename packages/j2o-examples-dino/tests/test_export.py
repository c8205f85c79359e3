"""Exported programs give JAX's numbers: the models and the preprocessing, at the lowest and the current opset."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
import skimage.data

import j2o_core
from j2o_examples_dino import DinoV3, from_state_dict, preprocess, variant

OPSETS = [21, 23]


def assert_close(actual, expected, *, relative=1e-5):
    """Within a fraction of the largest magnitude."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.fixture(scope="module")
def small():
    """DINOv3-S with random weights and residual branches at full strength, so that each block counts."""
    return DinoV3(dataclasses.replace(variant("vits16"), layer_scale_init=1.0), key=jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("opset", OPSETS)
def test_small_with_symbolic_batch(small, opset):
    program = j2o_core.to_onnx(jax.vmap(small.forward_features), [("B", 3, 224, 224)], opset=opset)
    reference = jax.jit(jax.vmap(small.forward_features))
    rng = np.random.default_rng(1)
    for batch in (1, 2, 5):
        images = rng.standard_normal((batch, 3, 224, 224)).astype(np.float32)
        expected = reference(images)
        actual = program(images)
        assert actual["masks"] is None
        for name in ("x_norm_clstoken", "x_storage_tokens", "x_norm_patchtokens", "x_prenorm"):
            assert_close(actual[name], np.asarray(expected[name]))


@pytest.mark.parametrize("opset", OPSETS)
def test_each_feed_forward_layer(tiny, weights, opset):
    model = from_state_dict(weights, tiny)
    program = j2o_core.to_onnx(jax.vmap(model), [(2, 3, 32, 48)], opset=opset)
    images = np.random.default_rng(2).standard_normal((2, 3, 32, 48)).astype(np.float32)
    assert_close(program(images), np.asarray(jax.vmap(model)(images)))
    program.verify()


@pytest.mark.parametrize("opset", OPSETS)
def test_intermediate_layers(tiny, weights, opset):
    model = from_state_dict(weights, tiny)

    def layers(image):
        return model.get_intermediate_layers(image, 2, reshape=True, return_class_token=True, return_extra_tokens=True)

    program = j2o_core.to_onnx(jax.vmap(layers), [("B", 3, 32, 48)], opset=opset)
    images = np.random.default_rng(3).standard_normal((2, 3, 32, 48)).astype(np.float32)
    expected = jax.vmap(layers)(images)
    actual = program(images)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_close(one, np.asarray(other))


def test_initializers_bear_the_published_names(tiny, weights):
    model = from_state_dict(weights, tiny)
    initializers = j2o_core.to_onnx(model, [(3, 32, 48)], opset=23).model.graph.initializers
    linears = ("fc1", "fc2") if tiny.ffn == "mlp" else ("w1", "w2", "w3")
    kept = ["patch_embed.proj", "cls_token", "storage_tokens", "norm.bias"]
    for block in ("blocks.0", "blocks.1"):
        kept += [f"{block}.{layer}" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2")]
        kept += [f"{block}.mlp.{linear}" for linear in linears]
    for name in kept:
        assert any(name in initializer for initializer in initializers), name


def test_no_weight_is_nameless(tiny, weights):
    model = from_state_dict(weights, tiny)
    initializers = j2o_core.to_onnx(model, [(3, 32, 48)], opset=23).model.graph.initializers
    nameless = [
        name
        for name, value in initializers.items()
        if name.startswith("const_") and value.const_value.size > 11 * 16  # rotary tables are nobody's weight
    ]
    assert not nameless


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("size", [224, 256, (48, 640)])
@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_preprocessing(name, size, opset):
    photo = getattr(skimage.data, name)()
    program = j2o_core.to_onnx(
        lambda image: preprocess(image, size), [jax.ShapeDtypeStruct(photo.shape, np.uint8)], opset=opset
    )
    expected = np.asarray(preprocess(photo, size))
    actual = program(photo)
    # jax.image.resize places its samples in float32, so JAX itself is good only to 3e-5 of a pixel at a width of 512,
    # which next to an edge as high as 1 / std = 4.4 is 1.3e-4. Where sizes have a ratio of a power of two, it is exact.
    if (name, size) == ("astronaut", 256):
        assert_close(actual, expected, relative=1e-6)
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1.3e-4)
    assert actual.dtype == np.float32


@pytest.mark.parametrize("opset", OPSETS)
def test_preprocessing_of_a_batch_and_model_in_one_graph(tiny, weights, opset):
    model = from_state_dict(weights, tiny)

    def from_photo(photo):
        return model(preprocess(photo, 32))

    photos = np.stack([skimage.data.chelsea(), skimage.data.chelsea()[::-1]])
    specs = [jax.ShapeDtypeStruct(photos.shape, np.uint8)]
    program = j2o_core.to_onnx(jax.vmap(from_photo), specs, opset=opset)
    assert_close(program(photos), np.asarray(jax.vmap(from_photo)(photos)))


@pytest.mark.parametrize("normalize", ["separate", "max", "min"])
def test_one_file_for_every_size(tiny, weights, normalize):
    model = from_state_dict(weights, dataclasses.replace(tiny, rope_normalize=normalize))
    program = j2o_core.to_onnx(jax.vmap(model.patch_features), [("B", 3, "16*H", "16*W")], opset=23)
    for size in ((32, 48), (64, 64), (16, 112), (176, 32)):
        images = np.random.default_rng(4).standard_normal((2, 3, *size)).astype(np.float32)
        assert_close(program(images), np.asarray(jax.jit(jax.vmap(model.patch_features))(images)))


@pytest.mark.slow
def test_small_with_symbolic_size(small):
    function = jax.vmap(small.forward_features)
    program = j2o_core.to_onnx(function, [("B", 3, "16*H", "16*W")], opset=23)
    reference = jax.jit(function)
    for size in ((224, 224), (256, 256), (192, 320), (48, 16)):
        images = np.random.default_rng(5).standard_normal((1, 3, *size)).astype(np.float32)
        expected, actual = reference(images), program(images)
        for name in ("x_norm_clstoken", "x_storage_tokens", "x_norm_patchtokens", "x_prenorm"):
            assert_close(actual[name], np.asarray(expected[name]))


def test_every_node_names_its_module(tiny, weights):
    model = from_state_dict(weights, tiny)
    program = j2o_core.to_onnx(jax.vmap(model), [("B", 3, 32, 48)], opset=23)
    found = {(node.op_type, node.metadata_props.get("j2o.module")) for node in program.model.graph.all_nodes()}
    assert not [op for op, path in found if path is None]
    # Layer scales are inside the weights before them: these are weights of the same modules still.
    assert not [path for _, path in found if path.endswith((".weight", ".bias"))]
    assert ("MatMul", "blocks.1.attn.proj") in found
    assert {("Attention", "blocks.1.attn"), ("Add", "blocks.1"), ("LayerNormalization", "norm")} <= found


def test_every_leaf_is_a_weight_of_the_file(tiny, weights, tmp_path):
    """Norms of ones as well; what stays out is read by nothing."""
    fresh = DinoV3(dataclasses.replace(tiny, layer_scale_init=1.0), key=jax.random.key(0))

    def exported(model):
        return j2o_core.to_onnx(jax.vmap(model), [("B", 3, 32, 48)], opset=23, weights="keep")

    program = exported(fresh)
    records = [
        json.loads(value.const_value.metadata_props["j2o.weight"])["leaf"]
        for value in program.model.graph.initializers.values()
        if "j2o.weight" in value.const_value.metadata_props
    ]
    paths, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(fresh, eqx.is_array))
    names = {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths}
    assert names - set(records) == {"mask_token", "rope_embed.periods"}  # the latter a buffer
    operators = Counter(node.op_type for node in program.model.graph)
    assert operators["RotaryEmbedding"] == 2 * tiny.depth
    assert (operators["Attention"], operators["Gelu"]) == (tiny.depth, tiny.depth if tiny.ffn == "mlp" else 0)
    other = DinoV3(dataclasses.replace(tiny, layer_scale_init=0.5), key=jax.random.key(1))
    content = []
    for one in (program.with_weights(other), exported(other)):
        content.append(Path(one.save(tmp_path / "model.onnx")[0]).read_bytes())
    assert content[0] == content[1]
    program.with_weights(fresh)
