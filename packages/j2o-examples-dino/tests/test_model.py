import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_dino import ConfigError, DinoV3, ImageError, LinearClassifier, create, from_state_dict, variant

# First four channels of the class token and of patches 0 and 5, and the mean magnitude before the final norm,
# computed in float64 by an implementation of its own.
GOLDEN = {
    "mlp": (
        [-0.987765, 0.715677, 0.504629, 0.392041],
        [-1.237518, 0.787241, 0.519243, 0.346704],
        [-1.056575, 0.693646, 0.590019, 0.332437],
        0.959090,
    ),
    "swiglu": (
        [-0.367048, -0.010374, 0.496425, 0.999811],
        [-0.507314, 0.069061, 0.466056, 0.976942],
        [-0.328013, -0.144724, 0.502008, 1.000337],
        1.187210,
    ),
}


@pytest.mark.parametrize("jit", [False, True])
def test_golden_values(tiny, weights, image, jit):
    model = from_state_dict(weights, tiny)
    forward = eqx.filter_jit(DinoV3.forward_features) if jit else DinoV3.forward_features
    features = forward(model, image)
    cls, first, last, magnitude = GOLDEN[tiny.ffn]
    np.testing.assert_allclose(features["x_norm_clstoken"][:4], cls, atol=1e-5)
    np.testing.assert_allclose(features["x_norm_patchtokens"][0, :4], first, atol=1e-5)
    np.testing.assert_allclose(features["x_norm_patchtokens"][5, :4], last, atol=1e-5)
    np.testing.assert_allclose(np.abs(features["x_prenorm"]).mean(), magnitude, atol=1e-5)


def test_forward_features(tiny, weights, image):
    model = from_state_dict(weights, tiny)
    features = model.forward_features(image)
    assert {name: getattr(value, "shape", None) for name, value in features.items()} == {
        "x_norm_clstoken": (32,),
        "x_storage_tokens": (4, 32),
        "x_norm_patchtokens": (6, 32),
        "x_prenorm": (11, 32),
        "masks": None,
    }
    tokens = np.concatenate(
        [features["x_norm_clstoken"][None], features["x_storage_tokens"], features["x_norm_patchtokens"]]
    )
    np.testing.assert_array_equal(tokens, jax.vmap(model.norm)(features["x_prenorm"]))
    np.testing.assert_array_equal(model(image), features["x_norm_clstoken"])
    np.testing.assert_array_equal(model.patch_features(image), features["x_norm_patchtokens"])


def test_batch(tiny, weights, image):
    model = from_state_dict(weights, tiny)
    images = np.stack([image, -image, 0.5 * image])
    batched = jax.vmap(model)(images)
    for one, expected in zip(images, batched, strict=True):
        np.testing.assert_allclose(model(one), expected, atol=1e-5)


def test_patches_that_do_not_fill_the_grid_are_left_out(tiny, weights, image):
    model = from_state_dict(weights, tiny)
    padded = np.pad(image, ((0, 0), (0, 15), (0, 7)), constant_values=9)
    np.testing.assert_array_equal(model.patch_features(padded), model.patch_features(image))


def test_masked_patches_make_no_difference(tiny, weights, image):
    model = from_state_dict(weights, tiny)
    mask = np.zeros((2, 3), bool)
    mask[1, 2] = True
    other = image.copy()
    other[:, 16:, 32:] = 5
    features, same = model.forward_features(image, mask), model.forward_features(other, mask)
    np.testing.assert_array_equal(features["x_prenorm"], same["x_prenorm"])
    np.testing.assert_array_equal(features["masks"], mask)
    assert np.abs(model.patch_features(image) - model.patch_features(other)).max() > 0.01
    assert np.abs(model.patch_features(image) - features["x_norm_patchtokens"]).max() > 0.01


def test_norm_for_local_crops_is_not_used(tiny, weights, image):
    config = dataclasses.replace(tiny, local_cls_norm=True)
    extra = {"local_cls_norm.weight": np.full(32, 7, np.float32), "local_cls_norm.bias": np.full(32, 3, np.float32)}
    with_norm = from_state_dict(weights | extra, config)
    np.testing.assert_array_equal(with_norm.local_cls_norm.weight, 7)
    np.testing.assert_array_equal(with_norm(image), from_state_dict(weights, tiny)(image))


def test_intermediate_layers(tiny, weights, image):
    model = from_state_dict(weights, tiny)
    features = model.forward_features(image)
    (last,) = model.get_intermediate_layers(image)
    np.testing.assert_array_equal(last, features["x_norm_patchtokens"])

    layers = model.get_intermediate_layers(
        image, [1, 0], reshape=True, return_class_token=True, return_extra_tokens=True, norm=False
    )
    assert len(layers) == 2
    patches, cls, registers = layers[1]
    np.testing.assert_array_equal(cls, features["x_prenorm"][0])
    np.testing.assert_array_equal(registers, features["x_prenorm"][1:5])
    np.testing.assert_array_equal(patches[:, 1, 2], features["x_prenorm"][5 + 5])
    assert patches.shape == (32, 2, 3)

    first, second = model.get_intermediate_layers(image, 2, return_class_token=True)
    np.testing.assert_array_equal(second[1], features["x_norm_clstoken"])
    assert np.abs(first[1] - second[1]).max() > 1e-3


@pytest.mark.parametrize("n", [0, 3, -1, [2], [-1], []])
def test_intermediate_layers_that_are_not_there(tiny, image, n):
    model = DinoV3(tiny, key=jax.random.key(0))
    with pytest.raises(ConfigError, match="blocks 0 to 1"):
        model.get_intermediate_layers(image, n)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 3, 32, 32), np.float32, r"jax\.vmap"),
        ((1, 32, 32), np.float32, "shape"),
        ((3, 15, 32), np.float32, "at least 16 x 16"),
        ((3, 32, 32), np.uint8, "uint8.*preprocess"),
    ],
)
def test_images_it_cannot_take(tiny, shape, dtype, message):
    with pytest.raises(ImageError, match=message):
        DinoV3(tiny, key=jax.random.key(0))(jnp.zeros(shape, dtype))


def test_leaves_bear_the_published_names(tiny):
    model = DinoV3(tiny, key=jax.random.key(0))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(model)]
    assert ".blocks[1].attn.qkv.weight" in paths
    assert ".storage_tokens" in paths


def test_random_weights_depend_on_the_key_alone(tiny):
    first, same, other = (DinoV3(tiny, key=jax.random.key(seed)) for seed in (0, 0, 1))
    assert eqx.tree_equal(first, same)
    assert not eqx.tree_equal(first, other)


def test_no_key_is_used_twice(tiny):
    with jax.debug_key_reuse(True):
        model = DinoV3(tiny, key=jax.random.key(0))
    weights = [block.attn.qkv.weight for block in model.blocks]
    assert np.abs(weights[0] - weights[1]).max() > 0


def test_keys_have_no_bias_in_a_new_model(tiny):
    bias = DinoV3(tiny, key=jax.random.key(0)).blocks[0].attn.qkv.bias
    np.testing.assert_array_equal(bias[32:64], 0)
    assert np.abs(bias[:32]).max() > 0


def test_bfloat16_weights(tiny, weights, image):
    model = from_state_dict(weights, tiny, dtype=jnp.bfloat16)
    features = model.forward_features(image)
    assert features["x_prenorm"].dtype == jnp.bfloat16
    assert model.rope_embed.periods.dtype == jnp.float32
    # Eight bits of mantissa through two blocks.
    reference = from_state_dict(weights, tiny)(image)
    np.testing.assert_allclose(features["x_norm_clstoken"].astype(np.float32), reference, atol=0.1)


def test_float64_weights(tiny, weights, image):
    reference = from_state_dict(weights, tiny)(image)
    with jax.enable_x64(True):
        double = from_state_dict(weights, tiny, dtype=np.float64)(image)
        assert double.dtype == np.float64
        assert DinoV3(tiny, key=jax.random.key(0))(image).dtype == np.float64
        np.testing.assert_allclose(double, reference, atol=1e-5)


@pytest.mark.slow
def test_create():
    model = create("vits16", key=jax.random.key(0))
    assert model.config == variant("vits16")
    assert model(np.zeros((3, 16, 16), np.float32)).shape == (384,)


def test_linear_classifier(tiny, weights, image):
    backbone = from_state_dict(weights, tiny)
    classifier = LinearClassifier(backbone, 7, key=jax.random.key(1))
    joined = np.concatenate([backbone(image), np.mean(backbone.patch_features(image), axis=0)])
    expected = classifier.linear_head.weight @ joined + classifier.linear_head.bias
    np.testing.assert_allclose(classifier(image), expected, atol=1e-5)
