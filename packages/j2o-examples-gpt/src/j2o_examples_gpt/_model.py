"""A decoder in the manner of GPT-2: learned positions, norms before the layers, and the embedding as the head.

All layers but attention work on rows, `[batch * tokens, dim]`: where both sizes are free, a runtime knows a product of
two matrices and its bias as one operator (Gemm), and a product of more axes not.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from ._cache import Cache
from ._config import GptConfig


def _swap(x: Array) -> Array:
    """Heads before tokens, or tokens before heads."""
    return jnp.swapaxes(x, 1, 2)


class Attention(eqx.Module):
    """Causal attention to what is in the cache and what is added to it."""

    qkv: eqx.nn.Linear
    proj: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, config: GptConfig, *, key: Array):
        qkv_key, proj_key = jax.random.split(key)
        self.qkv = eqx.nn.Linear(config.dim, 3 * config.dim, key=qkv_key)
        self.proj = eqx.nn.Linear(config.dim, config.dim, key=proj_key)
        self.heads = config.heads

    def __call__(self, x: Array, keys: Array, values: Array, length: Array) -> tuple[Array, Array, Array]:
        """Attend and remember.

        Args:
            x: `[batch * tokens, dim]` new tokens.
            keys: `[batch, heads, capacity, head_dim]`, of which the first `length` places are filled.
            values: The same.
            length: Scalar.

        Returns:
            `[batch * tokens, dim]`, and the keys and values with those of the new tokens.
        """
        (rows, dim), batch = x.shape, keys.shape[0]
        heads = (self.heads, dim // self.heads)
        qkv = jax.vmap(self.qkv)(x).reshape(rows, 3, *heads)
        query, key, value = (_swap(qkv[:, i].reshape(batch, rows // batch, *heads)) for i in range(3))
        keys = lax.dynamic_update_slice(keys, key, (0, 0, length, 0))
        values = lax.dynamic_update_slice(values, value, (0, 0, length, 0))
        # Places are numbered as in the cache: a token sees itself and what is before it.
        seen = jnp.arange(keys.shape[2]) <= length + jnp.arange(rows // batch)[:, None]
        mixed = jax.nn.dot_product_attention(_swap(query), _swap(keys), _swap(values), mask=seen[None, None])
        return jax.vmap(self.proj)(mixed.reshape(x.shape)), keys, values


class Block(eqx.Module):
    """Attention and a feed-forward layer, each on normalised tokens and added to what came in."""

    first_norm: eqx.nn.LayerNorm
    attention: Attention
    second_norm: eqx.nn.LayerNorm
    wide: eqx.nn.Linear
    narrow: eqx.nn.Linear

    def __init__(self, config: GptConfig, *, key: Array):
        attention_key, wide_key, narrow_key = jax.random.split(key, 3)
        self.first_norm = eqx.nn.LayerNorm(config.dim)
        self.attention = Attention(config, key=attention_key)
        self.second_norm = eqx.nn.LayerNorm(config.dim)
        self.wide = eqx.nn.Linear(config.dim, 4 * config.dim, key=wide_key)
        self.narrow = eqx.nn.Linear(4 * config.dim, config.dim, key=narrow_key)

    def __call__(self, x: Array, keys: Array, values: Array, length: Array) -> tuple[Array, Array, Array]:
        """As `Attention`."""
        mixed, keys, values = self.attention(jax.vmap(self.first_norm)(x), keys, values, length)
        x = x + mixed
        hidden = jax.nn.gelu(jax.vmap(self.wide)(jax.vmap(self.second_norm)(x)), approximate=True)
        return x + jax.vmap(self.narrow)(hidden), keys, values


class Gpt(eqx.Module):
    """Tokens to logits of the token that follows."""

    tokens: Array
    positions: Array
    blocks: list[Block]
    norm: eqx.nn.LayerNorm

    def __init__(self, config: GptConfig, *, key: Array):
        tokens_key, positions_key, *block_keys = jax.random.split(key, 2 + config.depth)
        self.tokens = 0.02 * jax.random.normal(tokens_key, (config.vocabulary, config.dim))
        # Large beside the tokens, so that without training, too, what follows is not the last token once more.
        self.positions = 0.2 * jax.random.normal(positions_key, (config.positions, config.dim))
        self.blocks = [Block(config, key=block_key) for block_key in block_keys]
        self.norm = eqx.nn.LayerNorm(config.dim)

    def __call__(self, tokens: Array, cache: Cache) -> tuple[Array, Cache]:
        """Read tokens: a prompt into an empty cache, or one token more.

        Args:
            tokens: `[batch, tokens]` int32; together with `cache.length` no more than the capacity of the cache.
            cache: What came before.

        Returns:
            `[batch, vocabulary]` logits of the token that follows the last one, and the cache with the new tokens.
        """
        batch, count = tokens.shape
        x = self.tokens[tokens] + self.positions[cache.length + jnp.arange(count)]
        x = x.reshape(batch * count, -1)
        keys, values = list(cache.keys), list(cache.values)
        for i, block in enumerate(self.blocks):
            x, keys[i], values[i] = block(x, keys[i], values[i], cache.length)
        last = jax.vmap(self.norm)(x.reshape(batch, count, -1)[:, -1])
        return last @ self.tokens.T, Cache(tuple(keys), tuple(values), cache.length + count)
