import jax
import numpy as np
import pytest

from j2o_examples_gpt import empty_cache

TOKENS = np.random.default_rng(0).integers(0, 256, (2, 9), dtype=np.int32)


def _reference(model, tokens):
    """Logits after the last token, without a cache, written out with NumPy alone."""

    def norm(layer, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * np.asarray(layer.weight) + np.asarray(layer.bias)

    def linear(layer, x):
        return x @ np.asarray(layer.weight).T + np.asarray(layer.bias)

    count = tokens.shape[1]
    x = np.asarray(model.tokens)[tokens] + np.asarray(model.positions)[:count]
    for block in model.blocks:
        heads = block.attention.heads
        q, k, v = np.split(linear(block.attention.qkv, norm(block.first_norm, x)), 3, axis=-1)
        q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(0, 2, 1, 3) for part in (q, k, v))
        scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones((count, count), bool)), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ v
        x = x + linear(block.attention.proj, mixed.transpose(0, 2, 1, 3).reshape(x.shape))
        hidden = linear(block.wide, norm(block.second_norm, x))
        hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + linear(block.narrow, hidden)
    return norm(model.norm, x[:, -1]) @ np.asarray(model.tokens).T


@pytest.mark.parametrize("capacity", [9, 20])
def test_a_prompt(model, step, config, capacity):
    logits, cache = step(TOKENS, empty_cache(config, 2, capacity))
    np.testing.assert_allclose(logits, _reference(model, TOKENS), rtol=1e-4, atol=1e-4)
    assert cache.length == 9
    assert len(cache.keys) == len(cache.values) == config.depth
    assert cache.keys[0].shape == (2, config.heads, capacity, config.head_dim)
    assert not np.any(cache.values[-1][:, :, 9:])


def test_token_by_token_is_the_whole_prompt(model, step, config):
    cache = empty_cache(config, 2, 12)
    for place in range(9):
        logits, cache = step(TOKENS[:, place : place + 1], cache)
        np.testing.assert_allclose(logits, _reference(model, TOKENS[:, : place + 1]), rtol=1e-4, atol=1e-4)
    _, whole = step(TOKENS, empty_cache(config, 2, 12))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), cache, whole)


def test_a_prompt_in_two_pieces(model, step, config):
    _, cache = step(TOKENS[:, :5], empty_cache(config, 2, 12))
    logits, _ = step(TOKENS[:, 5:], cache)
    np.testing.assert_allclose(logits, _reference(model, TOKENS), rtol=1e-4, atol=1e-4)
