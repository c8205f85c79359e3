"""The encoder: golden numbers, parameter counts, forms of the blocks, tokens."""

import dataclasses
import io
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, Transformer, TransformerConfig, patchify, stack, unstack
from j2o_examples_birdjepa._attention import Attention

from .conftest import MODERN, SMALL, encode, formula_encoder


def count(config: TransformerConfig) -> tuple[int, int]:
    skeleton = eqx.filter_eval_shape(Transformer, config, key=jax.random.key(0))
    leaves = jax.tree.leaves(skeleton)
    return sum(math.prod(leaf.shape) for leaf in leaves), len(leaves)


GOLDEN = {
    "tanh": ({"gelu": "tanh"}, [-0.98379, -0.07258, -0.50252, 1.33079], [-1.38331, 0.59883, 0.76506, 0.60913]),
    "erf": ({}, [-0.98374, -0.07254, -0.50263, 1.33081], None),
    "modern": (MODERN, [-0.84257, 1.19721, -0.89552, 0.51007], [0.75661, 0.61713, -0.50266, 0.89982]),
}


@pytest.mark.parametrize("use_scan", [False, True])
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_numbers(name, use_scan, spectrograms):
    fields, cls, patches = GOLDEN[name]
    model = formula_encoder(**fields)
    output = encode(stack(model) if use_scan else model, spectrograms)
    np.testing.assert_allclose(output.cls[0, 0, :4], cls, atol=1e-5)
    if patches:
        np.testing.assert_allclose(output.patches[1, 5, :4], patches, atol=1e-5)
    if name == "modern":
        np.testing.assert_allclose(output.cls[1, 1, :4], [0.62305, 0.71184, -0.57758, 0.96609], atol=1e-5)
    assert output.reg is None


def test_parameter_counts():
    small = TransformerConfig(embed_dim=384, depth=12, n_heads=6)
    assert count(small)[0] == 21_491_712
    assert count(dataclasses.replace(small, **MODERN)) == (21_382_656, 22)
    assert count(TransformerConfig())[0] == 85_450_752


def test_stacked_and_in_a_loop_are_one_model(spectrograms):
    config = TransformerConfig(**SMALL | MODERN | {"n_reg_tokens": 3})
    loop = Transformer(config, key=jax.random.key(1))
    scan = Transformer(dataclasses.replace(config, use_scan=True), key=jax.random.key(1))
    for one, other in ((scan, stack(loop)), (loop, unstack(scan)), (loop, unstack(stack(loop))), (scan, stack(scan))):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(encode(scan, spectrograms), encode(loop, spectrograms), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_gradients_with_and_without_checkpoints(spectrograms):
    @eqx.filter_jit
    def gradient(model):
        return eqx.filter_grad(lambda m: jnp.sum(m.encode(spectrograms).cls ** 3))(model)

    config = TransformerConfig(**SMALL)
    gradients = []
    for use_scan, grad_ckpt in ((False, False), (True, True)):
        changed = dataclasses.replace(config, use_scan=use_scan, grad_ckpt=grad_ckpt)
        found = gradient(Transformer(changed, key=jax.random.key(2)))
        gradients.append(jax.tree.leaves(unstack(found) if use_scan else found))
    for others in gradients[1:]:
        for a, b in zip(gradients[0], others, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * max(1, float(np.abs(a).max())))


def test_any_subset_of_patches(spectrograms):
    model = eqx.filter_jit(formula_encoder())
    patches, grid = patchify(jnp.asarray(spectrograms), 16, 16)
    order = jnp.asarray([4, 1, 5, 0, 3, 2])
    permuted = model(patches[:, order], grid[:, order])
    whole = model(patches, grid)
    np.testing.assert_allclose(permuted.patches, whole.patches[:, order], atol=2e-6)
    np.testing.assert_allclose(permuted.cls, whole.cls, atol=2e-6)
    assert model(patches[:, :2], grid[:, :2]).patches.shape == (2, 2, 32)


def test_attention_has_tokens_before_heads():
    """The layout of PyTorch, heads before tokens, runs without an error and learns nothing."""
    dim, heads, tokens = 12, 3, 5
    layer = Attention(dim, heads, qk_norm=False, eps=1e-5, key=jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((tokens, dim)).astype(np.float32)
    q, k, v = np.split(x @ np.asarray(layer.qkv.weight).T + np.asarray(layer.qkv.bias), 3, axis=1)
    mixed = np.empty((tokens, dim), np.float32)
    for head in range(heads):
        part = slice(4 * head, 4 * head + 4)
        logits = q[:, part] @ k[:, part].T / 2
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        mixed[:, part] = weights / weights.sum(axis=1, keepdims=True) @ v[:, part]
    expected = mixed @ np.asarray(layer.proj.weight).T + np.asarray(layer.proj.bias)
    np.testing.assert_allclose(layer(jnp.asarray(x), None), expected, atol=1e-5)


@pytest.mark.parametrize("n_reg", [1, 4])
def test_registers_with_rotary_positions(n_reg, spectrograms):
    """Tables that cover the patches alone do not fit the tokens behind the patches."""
    output = encode(formula_encoder(**MODERN, n_reg_tokens=n_reg), spectrograms)
    assert output.cls.shape == (2, 2, 32)
    assert output.patches.shape == (2, 6, 32)
    assert output.reg.shape == (2, n_reg, 32)


def test_the_exact_gelu_is_the_default(spectrograms):
    exact, tanh = (encode(formula_encoder(**fields), spectrograms).cls for fields in ({}, {"gelu": "tanh"}))
    assert TransformerConfig().gelu == "erf"
    assert 1e-5 < np.abs(exact - tanh).max() < 1e-3


def test_no_array_is_empty_and_serialisation_survives():
    model = Transformer(TransformerConfig(**SMALL), key=jax.random.key(4))
    assert all(leaf.size for leaf in jax.tree.leaves(model))
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, model)
    file.seek(0)
    back = eqx.tree_deserialise_leaves(file, eqx.filter_eval_shape(Transformer, model.config, key=jax.random.key(0)))
    assert eqx.tree_equal(model, back)


def test_dropout_needs_a_key(spectrograms):
    model = Transformer(TransformerConfig(**SMALL | {"dropout": 0.5, "use_scan": True}), key=jax.random.key(5))
    plain = Transformer(TransformerConfig(**SMALL | {"use_scan": True}), key=jax.random.key(5))
    without = encode(model, spectrograms)
    np.testing.assert_array_equal(without.cls, encode(plain, spectrograms).cls)
    one, again, other = (encode(model, spectrograms, jax.random.key(seed)).cls for seed in (6, 6, 7))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-2
    assert np.abs(one - without.cls).max() > 1e-2


def test_half_precision_keeps_sums_in_float32(spectrograms):
    model = formula_encoder()
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model)
    output = encode(half, jnp.asarray(spectrograms, jnp.bfloat16))
    assert output.cls.dtype == jnp.bfloat16
    np.testing.assert_allclose(output.cls.astype(np.float32), encode(model, spectrograms).cls, atol=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_h": 500}, "input_h 500 is not a multiple of patch_h 16"),
        ({"embed_dim": 100}, "embed_dim 100 is not a multiple of n_heads 12"),
        ({"embed_dim": 72, "use_rope": True}, "a head has 6 channels, but use_rope needs a multiple of 4"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"gelu": "sigmoid"}, "must be 'erf' or 'tanh', not 'sigmoid'"),
        ({"n_reg_tokens": -1}, "n_reg_tokens must not be negative"),
    ],
)
def test_impossible_configurations_are_errors(fields, message):
    with pytest.raises(ConfigError, match=message):
        TransformerConfig(**fields)


def test_other_shapes_are_errors(spectrograms):
    model = formula_encoder()
    with pytest.raises(ConfigError, match=r"must be \[batch, 32, 48\], but they are \(2, 48, 32\)"):
        model.encode(jnp.zeros((2, 48, 32)))
    with pytest.raises(ConfigError, match=r"must be \[batch, tokens, 256\], but they are \(2, 6, 16\)"):
        model(jnp.zeros((2, 6, 16)), jnp.zeros((2, 6, 2), int))
    with pytest.raises(ConfigError, match=r"must be \(2, 6, 2\), but is \(6, 2\)"):
        model(jnp.zeros((2, 6, 256)), jnp.zeros((6, 2), int))
