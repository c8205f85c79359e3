import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_dino import DinoConfig, DinoV3, from_state_dict
from j2o_examples_dino._rope import RotaryEmbedding, rope_periods, rotate

# The values in the published files, for heads of 64 and of 128 channels.
PUBLISHED = {
    64: "1 1.3359375 1.78125 2.375 3.15625 4.21875 5.625 7.5 10 13.3125 17.75 23.75 31.625 42.25 56.25 75",
    128: "1 1.15625 1.3359375 1.5390625 1.78125 2.046875 2.375 2.734375 3.15625 3.65625 4.21875 4.875 5.625 6.5 7.5 "
    "8.6875 10 11.5625 13.3125 15.375 17.75 20.5 23.75 27.375 31.625 36.5 42.25 48.75 56.25 65 75 86.5",
}


@pytest.mark.parametrize("head_dim", [64, 128])
def test_bf16_periods_are_the_published_ones(head_dim):
    config = DinoConfig(dim=2 * head_dim, depth=1, heads=2)
    published = np.array(PUBLISHED[head_dim].split(), np.float32)
    for source in ("bf16", "checkpoint"):
        np.testing.assert_array_equal(rope_periods(dataclasses.replace(config, rope_periods=source)), published)


def test_fp32_periods_are_not_rounded():
    periods = rope_periods(DinoConfig(dim=128, depth=1, heads=2, rope_periods="fp32"))
    np.testing.assert_allclose(periods, 100 ** (np.arange(16) / 16), rtol=1e-7)
    gap = np.abs(np.array(PUBLISHED[64].split(), float) / periods - 1).max()
    assert 1e-3 < gap < 2e-3


def test_each_source_of_periods(tiny, weights):
    stored = np.array([1, 3, 9, 30], np.float32)
    weights["rope_embed.periods"] = stored
    computed = {"bf16": [1, 3.15625, 10, 31.625], "fp32": 100 ** (np.arange(4) / 4)}
    for source, expected in {"checkpoint": stored, **computed}.items():
        model = from_state_dict(weights, dataclasses.replace(tiny, rope_periods=source))
        np.testing.assert_allclose(model.rope_embed.periods, expected, rtol=1e-7)
    del weights["rope_embed.periods"]
    model = from_state_dict(weights, tiny)
    np.testing.assert_array_equal(model.rope_embed.periods, computed["bf16"])


@pytest.mark.parametrize("normalize", ["separate", "max", "min"])
@pytest.mark.parametrize("grid", [(2, 3), (3, 2), (1, 4), (1, 1)])
def test_tables(normalize, grid):
    config = DinoConfig(dim=32, depth=1, heads=2, rope_normalize=normalize)
    cos, sin = RotaryEmbedding(config).tables(*grid, prefix=5)

    rows, columns = grid
    assert cos.shape == sin.shape == (5 + rows * columns, 16)
    np.testing.assert_array_equal(cos[:5], 1)
    np.testing.assert_array_equal(sin[:5], 0)
    extents = {"separate": grid, "max": (max(grid),) * 2, "min": (min(grid),) * 2}[normalize]
    periods = rope_periods(config).astype(np.float64)
    for i in range(rows):
        for j in range(columns):
            angles = np.concatenate(
                [
                    2 * np.pi * (2 * (place + 0.5) / extent - 1) / periods
                    for place, extent in zip((i, j), extents, strict=True)
                ]
            )
            token = 5 + i * columns + j
            np.testing.assert_allclose(cos[token], np.cos(np.tile(angles, 2)), atol=2e-6)
            np.testing.assert_allclose(sin[token], np.sin(np.tile(angles, 2)), atol=2e-6)


def test_rotation_turns_pairs_half_a_head_apart():
    x = jax.random.normal(jax.random.key(0), (7, 2, 8))
    angles = jnp.tile(jax.random.normal(jax.random.key(1), (7, 4)), (1, 2))
    turned = rotate(x, jnp.cos(angles), jnp.sin(angles))

    as_complex = np.asarray(x[..., :4]) + 1j * np.asarray(x[..., 4:])
    expected = as_complex * np.exp(1j * np.asarray(angles[:, None, :4]))
    np.testing.assert_allclose(turned, np.concatenate([expected.real, expected.imag], axis=-1), atol=1e-6)


def test_rotation_keeps_the_dtype():
    x = jnp.ones((3, 2, 8), jnp.bfloat16)
    assert rotate(x, jnp.ones((3, 8)), jnp.zeros((3, 8))).dtype == jnp.bfloat16


def test_periods_get_no_gradient(tiny, image):
    model = DinoV3(tiny, key=jax.random.key(0))
    gradient = jax.grad(lambda model: jnp.sum(model(image) ** 3))(model)
    np.testing.assert_array_equal(gradient.rope_embed.periods, 0)
    assert np.abs(gradient.blocks[0].attn.qkv.weight).max() > 0
