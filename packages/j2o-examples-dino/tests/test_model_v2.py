"""DINOv2: learned positions, where they are added, how they are resampled, and that all of it exports."""

import dataclasses
import functools

import equinox as eqx
import jax
import numpy as np
import pytest

import j2o_core
from j2o_examples_dino import DinoV2, DinoV2Config
from j2o_examples_dino._positions import positions

TINY = DinoV2Config(dim=32, depth=1, heads=2, layer_scale_init=1.0, image_size=56, registers=3)
RESIZES = {
    "jax": {"resize_mode": "jax"},
    "jax-antialias": {"resize_mode": "jax", "resize_antialias": True},
    "torch": {"resize_mode": "torch", "resize_offset": 0.1},
    "torch-antialias": {"resize_mode": "torch", "resize_antialias": True},
}
# The size that positions are learned for, larger and smaller ones, square and not.
SIZES = [(56, 56), (70, 42), (14, 98), (28, 28), (112, 84)]
FLAGS = {
    "patches": {"class_position": False},
    "class": {},
    "all": {"register_positions": True},
}


def _model(**changes):
    """A tiny model whose positions count as much as what is in the image."""
    model = DinoV2(dataclasses.replace(TINY, **changes), key=jax.random.key(0))
    return eqx.tree_at(lambda model: model.pos_embed, model, replace_fn=lambda weight: 50 * weight)


def _tap(distance, a):
    """Keys' cubic kernel with the coefficient a."""
    x = abs(distance)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def _weights(size, side, *, a, scale, antialias, repeat_edges):
    """A matrix [size, side] that resamples one axis, element by element."""
    matrix = np.zeros((size, side))
    wider = max(1 / scale, 1.0) if antialias else 1.0
    for place in range(size):
        centre = (place + 0.5) / scale - 0.5
        reach = int(np.ceil(2 * wider)) + 1
        for source in range(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 2):
            weight = _tap((source - centre) / wider, a)
            if 0 <= source < side:
                matrix[place, source] += weight
            elif repeat_edges:
                matrix[place, min(max(source, 0), side - 1)] += weight
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("grid", [(5, 3), (1, 7), (2, 2), (9, 4), (8, 8)])
def test_resampling_is_what_the_two_libraries_do(grid, resize):
    config = dataclasses.replace(TINY, **RESIZES[resize])
    weight = np.random.default_rng(0).standard_normal((17, 32)).astype(np.float32)
    torch_without = config.resize_mode == "torch" and not config.resize_antialias
    rows, columns = (
        _weights(
            size,
            4,
            a=-0.75 if torch_without else -0.5,
            scale=(size + config.resize_offset) / 4,
            antialias=config.resize_antialias,
            repeat_edges=torch_without,
        )
        for size in grid
    )
    expected = np.einsum("rs,ct,std->rcd", rows, columns, weight[1:].reshape(4, 4, 32).astype(np.float64))
    actual = positions(jax.numpy.asarray(weight), config, grid)
    np.testing.assert_array_equal(actual[0], weight[0])
    np.testing.assert_allclose(actual[1:], expected.reshape(-1, 32), atol=2e-5)


@pytest.mark.parametrize("resize", RESIZES)
def test_nothing_is_resampled_at_the_learned_size(resize):
    weight = jax.random.normal(jax.random.key(0), (17, 32))
    assert positions(weight, dataclasses.replace(TINY, **RESIZES[resize]), (4, 4)) is weight


@pytest.mark.parametrize("flags", FLAGS)
def test_which_tokens_have_positions(flags):
    model = _model(**FLAGS[flags])
    image = np.random.default_rng(1).standard_normal((3, 56, 56)).astype(np.float32)
    patches, grid = model.patch_embed(image)
    places = np.asarray(model.pos_embed)
    prefix = np.concatenate([model.cls_token, model.register_tokens])
    count = {"patches": 0, "class": 1, "all": 4}[flags]
    prefix[:count] += places[:count]
    assert places.shape == (count + 16, 32)
    expected = np.concatenate([prefix, patches + places[count:]])
    np.testing.assert_array_equal(model._tokens(patches, grid), expected)
    assert model.forward_features(image)["x_storage_tokens"].shape == (3, 32)


@functools.cache
def _images_and_features(size, **changes):
    images = np.random.default_rng(2).standard_normal((2, 3, *size)).astype(np.float32)
    return images, np.asarray(jax.jit(jax.vmap(_model(**changes).patch_features))(images))


def _assert_same(program, size, **changes):
    images, expected = _images_and_features(size, **changes)
    actual = program(images)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("opset", [18, 21, 23, 26])
@pytest.mark.parametrize("resize", RESIZES)
def test_one_file_for_every_size(resize, opset):
    function = jax.vmap(_model(**RESIZES[resize]).patch_features)
    program = j2o_core.to_onnx(function, [("B", 3, "14*H", "14*W")], opset=opset)
    for size in SIZES:
        _assert_same(program, size, **RESIZES[resize])


@pytest.mark.parametrize("flags", FLAGS)
def test_one_file_for_every_size_wherever_positions_are(flags):
    function = jax.vmap(_model(**FLAGS[flags]).patch_features)
    program = j2o_core.to_onnx(function, [("B", 3, "14*H", "14*W")], opset=21)
    for size in SIZES[:2]:
        _assert_same(program, size, **FLAGS[flags])


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_fixed_at_export(size, resize):
    function = jax.vmap(_model(**RESIZES[resize]).patch_features)
    program = j2o_core.to_onnx(function, [("B", 3, *size)], opset=18)
    _assert_same(program, size, **RESIZES[resize])
    # The resampled positions are a constant of the graph.
    resampling = {"Resize", "Range", "Floor", "Abs"}
    assert not {node.op_type for node in program.model.graph.all_nodes()} & resampling


def test_fused_swiglu():
    model = _model(ffn="swiglu_fused")
    mlp = model.blocks[0].mlp
    x = np.random.default_rng(3).standard_normal((5, 32)).astype(np.float32)
    gate, value = np.split(x @ np.asarray(mlp.w12.weight).T + mlp.w12.bias, 2, axis=1)
    expected = (gate / (1 + np.exp(-gate)) * value) @ np.asarray(mlp.w3.weight).T + mlp.w3.bias
    np.testing.assert_allclose(mlp(x), expected, atol=1e-5)
    program = j2o_core.to_onnx(jax.vmap(model.patch_features), [("B", 3, 56, 56)], opset=23)
    _assert_same(program, (56, 56), ffn="swiglu_fused")
