import dataclasses

import jax
import numpy as np
import pytest
import safetensors.numpy

from j2o_examples_dino import (
    CheckpointError,
    ConvNextConfig,
    DinoV2Config,
    build,
    from_state_dict,
    hf_to_published,
    load,
    published_to_hf,
    save,
    state_dict,
)


def test_published_to_hf_to_published_is_bit_exact(tiny, weights):
    published = state_dict(from_state_dict(weights, tiny))
    theirs = published_to_hf(published)
    again = state_dict(from_state_dict(hf_to_published(theirs), tiny))
    assert again.keys() == published.keys()
    for name, array in published.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    for name, array in published_to_hf(again).items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_names_and_shapes(tiny, weights):
    theirs = published_to_hf(weights)
    linears = {
        "mlp": {"up_proj": (128, 32), "down_proj": (32, 128)},
        "swiglu": {"gate_proj": (128, 32), "up_proj": (128, 32), "down_proj": (32, 128)},
    }[tiny.ffn]
    block = {
        "norm1.weight": (32,),
        "norm1.bias": (32,),
        "attention.q_proj.weight": (32, 32),
        "attention.q_proj.bias": (32,),
        "attention.k_proj.weight": (32, 32),
        "attention.v_proj.weight": (32, 32),
        "attention.v_proj.bias": (32,),
        "attention.o_proj.weight": (32, 32),
        "attention.o_proj.bias": (32,),
        "layer_scale1.lambda1": (32,),
        "norm2.weight": (32,),
        "norm2.bias": (32,),
        "layer_scale2.lambda1": (32,),
    }
    for name, shape in linears.items():
        block |= {f"mlp.{name}.weight": shape, f"mlp.{name}.bias": shape[:1]}
    expected = {
        "embeddings.cls_token": (1, 1, 32),
        "embeddings.register_tokens": (1, 4, 32),
        "embeddings.mask_token": (1, 1, 32),
        "embeddings.patch_embeddings.weight": (32, 3, 16, 16),
        "embeddings.patch_embeddings.bias": (32,),
        "norm.weight": (32,),
        "norm.bias": (32,),
        **{f"layer.{i}.{name}": shape for i in range(2) for name, shape in block.items()},
    }
    assert {name: array.shape for name, array in theirs.items()} == expected


def test_projections_are_split_in_their_order(weights):
    theirs = published_to_hf(weights)
    joint = weights["blocks.1.attn.qkv.weight"]
    for place, letter in enumerate("qkv"):
        np.testing.assert_array_equal(
            theirs[f"layer.1.attention.{letter}_proj.weight"], joint[32 * place : 32 * (place + 1)]
        )


def test_gate_is_the_first_matrix(weights):
    if "blocks.0.mlp.w1.weight" in weights:
        theirs = published_to_hf(weights)
        np.testing.assert_array_equal(theirs["layer.0.mlp.gate_proj.weight"], weights["blocks.0.mlp.w1.weight"])
        np.testing.assert_array_equal(theirs["layer.0.mlp.up_proj.weight"], weights["blocks.0.mlp.w2.weight"])
    else:
        assert "layer.0.mlp.gate_proj.weight" not in published_to_hf(weights)


@pytest.mark.parametrize("prefixed", ["", "layer."])
def test_prefix_of_newer_versions(tiny, weights, image, prefixed):
    theirs = {
        f"model.{name}" if name.startswith(prefixed) else name: array
        for name, array in published_to_hf(weights).items()
    }
    model = from_state_dict(hf_to_published(theirs), tiny)
    np.testing.assert_array_equal(model(image), from_state_dict(weights, tiny)(image))


def test_without_biases(tiny, weights):
    config = dataclasses.replace(tiny, qkv_bias=False)
    without = {name: array for name, array in weights.items() if ".qkv.bias" not in name}
    theirs = published_to_hf(without)
    assert not any("_proj.bias" in name and "attention.o" not in name and "mlp" not in name for name in theirs)
    assert state_dict(from_state_dict(hf_to_published(theirs), config)).keys() == without.keys()


def test_bias_of_keys_cannot_be_written(weights):
    weights["blocks.1.attn.qkv.bias"][32] = 1e-9
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.qkv\.bias: the bias of the keys is not zero"):
        published_to_hf(weights)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layer.0.attention.x_proj.weight", (32, 32)),
        ("layer.0.attention.q_proj.weight", (31, 32)),
        ("layer.x.norm1.weight", (32,)),
        ("classifier.weight", (3,)),
    ],
)
def test_what_it_does_not_know_is_reported(tiny, weights, name, shape):
    theirs = published_to_hf(weights) | {name: np.zeros(shape, np.float32)}
    with pytest.raises(CheckpointError, match=name):
        from_state_dict(hf_to_published(theirs), tiny)


def test_bias_of_keys_is_kept_where_a_file_has_one(tiny, weights):
    bias = np.arange(32, dtype=np.float32)
    theirs = published_to_hf(weights) | {"layer.0.attention.k_proj.bias": bias}
    model = from_state_dict(hf_to_published(theirs), tiny)
    np.testing.assert_array_equal(model.blocks[0].attn.qkv.bias[32:64], bias)


@pytest.mark.parametrize("lost", ["layer.1.attention.v_proj.weight", "layer.1.attention.q_proj.bias"])
def test_incomplete_projection_is_reported(tiny, weights, lost):
    theirs = published_to_hf(weights)
    del theirs[lost]
    with pytest.raises(CheckpointError, match=r"1 missing: blocks\.1\.attn\.qkv"):
        from_state_dict(hf_to_published(theirs), tiny)


def _linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _dinov2(config):
    """Names and shapes in Hugging Face's layout of DINOv2, written out here independently of the package."""
    dim, places = config.dim, 1 + config.side**2
    shapes = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.mask_token": (1, dim),
        "embeddings.position_embeddings": (1, places, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (dim,),
        **_norm("layernorm", dim),
    }
    if config.registers:
        shapes["embeddings.register_tokens"] = (1, config.registers, dim)
    for index in range(config.depth):
        layer = f"encoder.layer.{index}"
        shapes |= _norm(f"{layer}.norm1", dim) | _norm(f"{layer}.norm2", dim)
        for part in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.attention.{part}", dim, dim)
        shapes |= _linear(f"{layer}.attention.output.dense", dim, dim)
        shapes |= {f"{layer}.layer_scale{place}.lambda1": (dim,) for place in (1, 2)}
        if config.ffn == "mlp":
            shapes |= _linear(f"{layer}.mlp.fc1", config.hidden, dim) | _linear(f"{layer}.mlp.fc2", dim, config.hidden)
        else:
            shapes |= _linear(f"{layer}.mlp.weights_in", 2 * config.hidden, dim)
            shapes |= _linear(f"{layer}.mlp.weights_out", dim, config.hidden)
    return shapes


def _convnext(config):
    """The same of DINOv3's ConvNeXts."""
    shapes, width = _norm("layer_norm", config.dims[-1]), 3
    for stage, (dim, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
        size, before = (2, f"stages.{stage}.downsample_layers") if stage else (4, "stages.0.downsample_layers")
        norm, convolution = (0, 1) if stage else (1, 0)
        shapes |= _norm(f"{before}.{norm}", width if stage else dim)
        shapes |= {f"{before}.{convolution}.weight": (dim, width, size, size), f"{before}.{convolution}.bias": (dim,)}
        for index in range(depth):
            layer = f"stages.{stage}.layers.{index}"
            shapes |= {f"{layer}.depthwise_conv.weight": (dim, 1, 7, 7), f"{layer}.depthwise_conv.bias": (dim,)}
            shapes |= _norm(f"{layer}.layer_norm", dim) | {f"{layer}.gamma": (dim,)}
            shapes |= _linear(f"{layer}.pointwise_conv1", 4 * dim, dim)
            shapes |= _linear(f"{layer}.pointwise_conv2", dim, 4 * dim)
        width = dim
    return shapes


FAMILIES = {
    "dinov2": (DinoV2Config(dim=32, depth=2, heads=2, image_size=28), _dinov2),
    "dinov2-registers": (
        DinoV2Config(dim=32, depth=1, heads=2, image_size=42, registers=2, ffn="swiglu_fused"),
        _dinov2,
    ),
    "convnext": (ConvNextConfig(depths=(1, 2), dims=(8, 12)), _convnext),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families(tmp_path, name):
    config, expected = FAMILIES[name]
    model = build(config, key=jax.random.key(0))
    save(tmp_path / "hf.safetensors", model, layout="hf")
    theirs = safetensors.numpy.load_file(tmp_path / "hf.safetensors")
    assert {name: array.shape for name, array in theirs.items()} == expected(config)
    published = state_dict(model)
    for back in (load(tmp_path / "hf.safetensors", config), from_state_dict(hf_to_published(theirs), config)):
        again = state_dict(back)
        assert again.keys() == published.keys()
        for key, array in published.items():
            np.testing.assert_array_equal(again[key], array, err_msg=key)


@pytest.mark.parametrize("prefix", ["dinov2.", "dinov2_with_registers."])
def test_a_classifier_keeps_its_backbone_under_a_name(prefix):
    config, _ = FAMILIES["dinov2"]
    published = state_dict(build(config, key=jax.random.key(1)))
    theirs = {prefix + name: array for name, array in published_to_hf(published).items()}
    assert state_dict(from_state_dict(hf_to_published(theirs), config)).keys() == published.keys()
    with pytest.raises(CheckpointError, match=r"unknown: classifier\.weight"):
        from_state_dict(hf_to_published(theirs | {"classifier.weight": np.zeros((3, 64), np.float32)}), config)


def test_names_that_no_family_has():
    for name in ("decoder.weight", "stages.0.0.dwconv.weight"):
        with pytest.raises(CheckpointError, match=r"decoder\.weight has no place in Hugging Face's layout"):
            published_to_hf({name: np.zeros(3, np.float32), "decoder.weight": np.zeros(3, np.float32)})
