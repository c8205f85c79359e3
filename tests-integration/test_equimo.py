"""Equimo 1.1.0, as it is on PyPI, exports: nothing in it is rewritten, replaced or avoided.

Its modules split random keys that nobody uses at inference, take empty slices, and compute rotary tables as they go.
"""

import warnings
from collections import Counter

import equinox as eqx
import jax
import numpy as np
import pytest

import j2o_core

with warnings.catch_warnings():
    # Its imports are not ours to mend.
    warnings.simplefilter("ignore")
    import equimo.models
    from equimo.models.vit import VisionTransformer

FACTORIES = {
    "vits16": equimo.models.dinov3_vits16_pretrain_lvd1689m,
    "vits16plus": equimo.models.dinov3_vits16plus_pretrain_lvd1689m,
}
KEYS = {"old-style": jax.random.PRNGKey, "new-style": jax.random.key}


def _awake(model: VisionTransformer) -> VisionTransformer:
    """The model with residual branches at full strength: at their initial 1e-5 no error inside a block would show."""

    def gammas(model):
        blocks = [block for chunk in model.blocks for block in chunk.blocks]
        return [scale.gamma for block in blocks for scale in (block.ls1, block.ls2)]

    return eqx.tree_at(gammas, model, replace_fn=lambda gamma: gamma * 0 + 1)


@pytest.fixture(scope="module", params=FACTORIES)
def model(request):
    return _awake(FACTORIES[request.param](pretrained=False))


@pytest.mark.parametrize("style", KEYS)
def test_features(model, style, opset):
    key = KEYS[style](0)
    program = j2o_core.to_onnx(
        jax.vmap(lambda a: model.features(a, key=key, inference=True)), [("B", 3, 224, 224)], opset=opset
    )
    reference = jax.jit(jax.vmap(lambda a, key: model.features(a, key=key, inference=True), in_axes=(0, None)))
    rng = np.random.default_rng(0)
    for batch in (1, 2, 5):
        images = rng.standard_normal((batch, 3, 224, 224)).astype(np.float32)
        # A key of its own each time: that one key is used twice is what JAX_DEBUG_KEY_REUSE is there to report.
        expected = np.asarray(reference(images, KEYS[style](0)))
        actual = program(images)
        assert actual.shape == expected.shape == (batch, 201, 384)
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def graph(model):
    key = jax.random.key(0)
    features = jax.vmap(lambda a: model.features(a, key=key, inference=True))
    return j2o_core.to_onnx(features, [("B", 3, 224, 224)], opset=23).model.graph


def test_nothing_random_is_left(graph):
    present = {node.op_type for node in graph.all_nodes()}
    assert not present & {"RandomNormal", "RandomUniform", "BitShift", "BitwiseXor", "Loop", "Scan"}


def test_rotary_tables_are_constants(graph):
    assert not {node.op_type for node in graph.all_nodes()} & {"Sin", "Cos", "Range", "Tile"}


def test_layers_are_whole(graph):
    counts = Counter(node.op_type for node in graph.all_nodes())
    assert counts["Attention"] == 12
    assert counts["RotaryEmbedding"] == 24  # queries and keys
    # Two a block; the final one is not part of `features`.
    assert counts["LayerNormalization"] == 24
    assert counts["Softmax"] == 0
    assert counts["Erf"] == 0


@pytest.mark.parametrize(("target", "most"), [(21, 500), (23, 300)])
def test_number_of_nodes(target, most):
    model = FACTORIES["vits16"](pretrained=False)
    features = jax.vmap(lambda a: model.features(a, key=jax.random.key(0), inference=True))
    program = j2o_core.to_onnx(features, [("B", 3, 224, 224)], opset=target)
    assert len(list(program.model.graph.all_nodes())) <= most


# Other families: the factory, and what each of 12 blocks becomes at opset 23. ViT-5 has rotary tables in which each
# number stands twice side by side, but exchanges halves: its pairs are not turned, and RotaryEmbedding cannot say it.
OTHERS = {
    "siglip2": (equimo.models.siglip2_vitb16_224, {"Attention": 1, "LayerNormalization": 2, "Gelu": 1}),
    "vit5": (equimo.models.vit5_small, {"Attention": 1, "RMSNormalization": 4, "Gelu": 1, "Split": 2}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_blocks_of_other_families(name):
    factory, of_a_block = OTHERS[name]
    model = factory(pretrained=False)
    features = jax.vmap(lambda a: model.features(a, key=jax.random.key(0), inference=True))
    program = j2o_core.to_onnx(features, [("B", 3, 224, 224)], opset=23)
    counts = Counter(node.op_type for node in program.model.graph.all_nodes())
    assert {op_type: counts[op_type] for op_type in of_a_block} == {k: 12 * n for k, n in of_a_block.items()}
    assert counts["Softmax"] == counts["Erf"] == counts["RotaryEmbedding"] == 0


@pytest.mark.parametrize("name", OTHERS)
def test_values_of_other_families(name, opset):
    model = OTHERS[name][0](pretrained=False, depths=[2])
    features = jax.vmap(lambda a: model.features(a, key=jax.random.key(0), inference=True))
    program = j2o_core.to_onnx(features, [("B", 3, 224, 224)], opset=opset)
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    expected = np.asarray(jax.jit(features)(images))
    np.testing.assert_allclose(program(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("style", KEYS)
def test_forward_features(style):
    model = _awake(
        VisionTransformer(
            img_size=32,
            in_channels=3,
            dim=32,
            patch_size=16,
            num_heads=2,
            depths=[2],
            num_classes=0,
            use_mask_token=True,
            use_global_pos_embed=False,
            use_local_pos_embed=True,
            reg_tokens=4,
            init_values=1.0,
            dynamic_img_size=True,
            act_layer="exactgelu",
            untie_global_and_local_cls_norm=True,
            key=KEYS[style](1),
        )
    )
    key = KEYS[style](2)
    forward = jax.vmap(lambda a: model.forward_features(a, key=key, inference=True))
    program = j2o_core.to_onnx(forward, [(2, 3, 48, 32)], opset=23)
    images = np.random.default_rng(1).standard_normal((2, 3, 48, 32)).astype(np.float32)
    expected, actual = forward(images), program(images)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


@pytest.mark.parametrize("pool", ["avg", "token", "avgmax", "max"])
def test_call_with_a_head(pool):
    model = _awake(
        FACTORIES["vits16"](pretrained=False, depths=[1], num_classes=10, global_pool=pool, key=jax.random.key(3))
    )
    program = j2o_core.to_onnx(jax.vmap(lambda a: model(a, inference=True)), [("B", 3, 32, 64)], opset=21)
    images = np.random.default_rng(2).standard_normal((3, 3, 32, 64)).astype(np.float32)
    expected = np.asarray(jax.vmap(lambda a: model(a, inference=True))(images))
    actual = program(images)
    assert actual.shape == expected.shape == (3, 10)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("positions", [{"global_pos_embed_cls": False}, {}, {"global_pos_embed_reg": True}])
def test_learned_positions_at_any_size(positions, antialias, opset):
    model = VisionTransformer(
        img_size=56,
        in_channels=3,
        dim=32,
        patch_size=14,
        num_heads=2,
        depths=[1],
        num_classes=0,
        use_mask_token=True,
        init_values=1.0,
        eps=1e-6,
        act_layer="exactgelu",
        dynamic_img_size=True,
        interpolate_antialias=antialias,
        **positions,
        key=jax.random.key(0),
    )
    features = jax.vmap(lambda a: model.features(a, key=jax.random.key(1), inference=True))
    program = j2o_core.to_onnx(features, [("B", 3, "14*H", "14*W")], opset=opset)
    reference = jax.jit(features)
    for size in ((56, 56), (70, 28)):
        images = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
        expected = np.asarray(reference(images))
        np.testing.assert_allclose(program(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
