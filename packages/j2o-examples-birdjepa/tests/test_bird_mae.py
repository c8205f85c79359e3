"""Bird-MAE: golden numbers, published sizes, the strict reader."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from j2o_examples_birdjepa import (
    BIRD_MAE,
    BirdMae,
    BirdMaeConfig,
    CheckpointError,
    ConfigError,
    Transformer,
    from_state_dict,
    load_bird_mae,
    save_safetensors,
    state_dict,
)

from .conftest import MODERN, TINY_MAE, encode, formula_array, formula_encoder


def published_shapes(config: BirdMaeConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a published file, written out here independently of the package."""
    dim = config.embed_dim
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 1 + config.n_patches, dim)}
    shapes |= {"patch_embed.proj.weight": (dim, 1, 16, 16), "patch_embed.proj.bias": (dim,)}
    for i in range(config.depth):
        for name, rows, columns in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            shapes |= {f"blocks.{i}.{name}.weight": (rows * dim, columns * dim)}
            shapes |= {f"blocks.{i}.{name}.bias": (rows * dim,)}
        shapes |= {f"blocks.{i}.{norm}.{kind}": (dim,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
    return shapes | {f"{norm}.{kind}": (dim,) for norm in ("norm", "fc_norm") for kind in ("weight", "bias")}


@pytest.fixture
def published():
    return {name: formula_array(name, shape) for name, shape in published_shapes(TINY_MAE).items()}


def test_golden_numbers(published, spectrograms):
    output = encode(from_state_dict(BirdMae, published, TINY_MAE), spectrograms)
    np.testing.assert_allclose(output.pooled[0, :4], [-1.37685, 0.43243, 0.36353, 1.00296], atol=1e-5)
    np.testing.assert_allclose(output.tokens[0, 0, :4], [-2.0125, 0.83928, -0.92343, 1.66409], atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("base", 85_453_056), ("large", 302_840_832), ("huge", 630_342_400)])
def test_published_sizes(name, size):
    skeleton = eqx.filter_eval_shape(BirdMae, BIRD_MAE[name], key=jax.random.key(0))
    # Encoders are counted without the norm of the other pooling.
    unused = 2 * BIRD_MAE[name].embed_dim
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(skeleton)) in (size, size + unused)
    assert sum(map(math.prod, published_shapes(BIRD_MAE[name]).values())) in (size, size + unused)


def test_a_file_comes_back_bit_for_bit(tmp_path, published):
    safetensors.numpy.save_file(published, tmp_path / "model.safetensors")
    model = load_bird_mae(tmp_path, TINY_MAE)
    save_safetensors(tmp_path / "again.safetensors", model)
    again = safetensors.numpy.load_file(tmp_path / "again.safetensors")
    assert again.keys() == published.keys()
    for name, array in published.items():
        np.testing.assert_array_equal(again[name], array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "model.safetensors"]


def test_an_encoder_comes_back_too():
    model = formula_encoder(**MODERN)
    assert eqx.tree_equal(from_state_dict(Transformer, state_dict(model), model.config), model)


def test_cls_pooling(tiny_mae, spectrograms):
    config = BirdMaeConfig(embed_dim=32, depth=2, n_heads=2, input_h=32, input_w=48, pooling="cls")
    other = from_state_dict(BirdMae, state_dict(tiny_mae), config)
    mean, cls = encode(tiny_mae, spectrograms), encode(other, spectrograms)
    np.testing.assert_array_equal(mean.tokens, cls.tokens)
    assert np.abs(mean.pooled - cls.pooled).max() > 0.1


def test_every_misfit_is_listed(published):
    published["fc_norm.gamma"] = published.pop("fc_norm.weight")
    published["norm.bias"] = np.zeros(3, np.float32)
    published["cls_token"] = published["cls_token"].astype(np.int32)
    with pytest.raises(CheckpointError) as caught:
        from_state_dict(BirdMae, published, TINY_MAE)
    message = str(caught.value)
    assert "1 missing: fc_norm.weight" in message
    assert "1 unknown: fc_norm.gamma" in message
    assert "norm.bias is (3,) instead of (32,)" in message
    assert "cls_token is int32" in message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_bird_mae(tmp_path, TINY_MAE)
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="cannot be read as a safetensors file"):
        load_bird_mae(tmp_path, TINY_MAE)


def test_other_shapes_are_errors(tiny_mae):
    with pytest.raises(ConfigError, match=r"must be \[batch, 32, 48\]"):
        tiny_mae(jnp.zeros((1, 32, 32)))
    with pytest.raises(ConfigError, match="pooling must be 'mean' or 'cls'"):
        BirdMaeConfig(embed_dim=32, depth=2, n_heads=2, pooling="max")
