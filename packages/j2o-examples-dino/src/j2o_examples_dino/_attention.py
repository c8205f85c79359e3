"""Multi-head self-attention, with rotated queries and keys where positions are rotations."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._config import TransformerConfig
from ._rope import Tables, rotate


class SelfAttention(eqx.Module):
    """Self-attention over all tokens of one image.

    Attributes:
        qkv: One projection to queries, keys and values, in this order along its output; heads vary slowest inside each.
        proj: Projection of the joined heads.
        heads: Number of heads.
    """

    qkv: eqx.nn.Linear
    proj: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, config: TransformerConfig, *, key: Array):
        qkv_key, proj_key = jax.random.split(key)
        qkv = eqx.nn.Linear(config.dim, 3 * config.dim, use_bias=config.qkv_bias, key=qkv_key)
        if qkv.bias is not None and not config.key_bias:
            keys_only = slice(config.dim, 2 * config.dim)
            qkv = eqx.tree_at(lambda linear: linear.bias, qkv, qkv.bias.at[keys_only].set(0))
        self.qkv = qkv
        self.proj = eqx.nn.Linear(config.dim, config.dim, key=proj_key)
        self.heads = config.heads

    def __call__(self, x: Array, rotary: Tables | None = None) -> Array:
        """Let every token attend to every token.

        Args:
            x: `[tokens, dim]`.
            rotary: `[tokens, head_dim]` float32 cosines and sines of the rotary embedding.

        Returns:
            `[tokens, dim]` in the dtype of `x`; the softmax is taken at least in float32.
        """
        tokens, dim = x.shape
        qkv = jax.vmap(self.qkv)(x).reshape(tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)

        scale = 1 / math.sqrt(dim // self.heads)
        logits = jnp.einsum("qhc,khc->hqk", q, k) * scale
        weights = jax.nn.softmax(logits.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=-1).astype(x.dtype)
        mixed = jnp.einsum("hqk,khc->qhc", weights, v)
        return jax.vmap(self.proj)(mixed.reshape(tokens, dim))
