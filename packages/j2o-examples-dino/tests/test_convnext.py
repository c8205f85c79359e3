"""The convolutional family: its forward pass against one written out in NumPy, its layers, and that it exports."""

import math

import jax
import numpy as np
import pytest

import j2o_core
from j2o_examples_dino import CheckpointError, ConfigError, ConvNext, ConvNextConfig, from_state_dict, state_dict

TINY = ConvNextConfig(depths=(1, 2, 1), dims=(8, 12, 16), layer_scale_init=1.0)


@pytest.fixture
def weights():
    """A state dict in Meta's layout, every tensor random."""
    rng = np.random.default_rng(0)
    shapes = {name: array.shape for name, array in state_dict(ConvNext(TINY, key=jax.random.key(0))).items()}
    tensors = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    tensors["norms.2.weight"], tensors["norms.2.bias"] = tensors["norm.weight"], tensors["norm.bias"]
    return tensors


def _norm(x, tensors, name):
    """LayerNorm of the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return unit * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _patches(x, tensors, name, size):
    """A convolution whose stride is its kernel, [rows, columns, channels] to [rows / size, columns / size, dim]."""
    rows, columns, channels = x.shape
    x = x.reshape(rows // size, size, columns // size, size, channels)
    return np.einsum("risjc,ocij->rso", x, tensors[f"{name}.weight"]) + tensors[f"{name}.bias"]


def _depthwise(x, tensors, name):
    rows, columns, _ = x.shape
    padded = np.pad(x, ((3, 3), (3, 3), (0, 0)))
    kernel = tensors[f"{name}.weight"][:, 0]
    out = sum(padded[i : i + rows, j : j + columns] * kernel[:, i, j] for i in range(7) for j in range(7))
    return out + tensors[f"{name}.bias"]


def _reference(image, tensors):
    """All tokens before the final norm, and after it, in float64."""
    tensors = {name: array.astype(np.float64) for name, array in tensors.items()}
    x = np.moveaxis(image.astype(np.float64), 0, 2)
    erf = np.vectorize(math.erf)
    for stage, depth in enumerate(TINY.depths):
        before = f"downsample_layers.{stage}"
        if stage == 0:
            x = _norm(_patches(x, tensors, f"{before}.0", 4), tensors, f"{before}.1")
        else:
            x = _patches(_norm(x, tensors, f"{before}.0"), tensors, f"{before}.1", 2)
        for index in range(depth):
            block = f"stages.{stage}.{index}"
            y = _norm(_depthwise(x, tensors, f"{block}.dwconv"), tensors, f"{block}.norm")
            y = y @ tensors[f"{block}.pwconv1.weight"].T + tensors[f"{block}.pwconv1.bias"]
            y = 0.5 * y * (1 + erf(y / math.sqrt(2)))
            y = y @ tensors[f"{block}.pwconv2.weight"].T + tensors[f"{block}.pwconv2.bias"]
            x = x + tensors[f"{block}.gamma"] * y
    patches = x.reshape(-1, x.shape[2])
    tokens = np.concatenate([patches.mean(axis=0, keepdims=True), patches])
    return tokens, _norm(tokens, tensors, "norm")


def test_forward_pass(weights):
    model = from_state_dict(weights, TINY)
    image = np.random.default_rng(1).standard_normal((3, 64, 48)).astype(np.float32)
    tokens, normed = _reference(image, weights)
    features = model.forward_features(image)
    np.testing.assert_allclose(features["x_prenorm"], tokens, atol=1e-5 * np.abs(tokens).max())
    np.testing.assert_allclose(features["x_norm_patchtokens"], normed[1:], atol=1e-5)
    np.testing.assert_allclose(model(image), normed[0], atol=1e-5)
    assert features["x_storage_tokens"].shape == (0, 16)


def test_intermediate_layers(weights):
    model = from_state_dict(weights, TINY)
    image = np.random.default_rng(1).standard_normal((3, 64, 48)).astype(np.float32)
    first, second, last = model.get_intermediate_layers(image, 3, reshape=True, return_class_token=True)
    assert [patches.shape for patches, _ in (first, second, last)] == [(8, 16, 12), (12, 8, 6), (16, 4, 3)]
    np.testing.assert_allclose(first[1], first[0].mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(last[1], model(image))


def test_state_dict_round_trip(weights):
    again = state_dict(from_state_dict(weights, TINY))
    assert again.keys() == weights.keys()
    assert all(np.array_equal(again[name], weights[name]) for name in weights)
    weights["norms.2.bias"] = weights["norms.2.bias"] + 1
    with pytest.raises(CheckpointError, match=r"1 not what they repeat: norms\.2\.bias is not norm\.bias"):
        from_state_dict(weights, TINY)


@pytest.mark.parametrize("opset", [18, 26])
def test_export_at_any_size(weights, opset):
    function = jax.vmap(from_state_dict(weights, TINY).forward_features)
    program = j2o_core.to_onnx(function, [("B", 3, "16*H", "16*W")], opset=opset)
    reference = jax.jit(function)
    for size in ((16, 16), (64, 48)):
        images = np.random.default_rng(2).standard_normal((2, 3, *size)).astype(np.float32)
        expected, actual = reference(images), program(images)
        for name in ("x_norm_clstoken", "x_norm_patchtokens", "x_prenorm"):
            np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-5 * np.abs(expected[name]).max())


def test_masks_are_refused():
    with pytest.raises(ConfigError, match="no mask token"):
        ConvNext(TINY, key=jax.random.key(0)).forward_features(np.zeros((3, 16, 16), np.float32), np.ones((1, 1), bool))
