"""Multi-head self-attention with rotated queries and keys."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._config import DinoConfig
from ._rope import rotate


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

    def __init__(self, config: DinoConfig, *, key: Array):
        qkv_key, proj_key = jax.random.split(key)
        qkv = eqx.nn.Linear(config.dim, 3 * config.dim, use_bias=config.qkv_bias, key=qkv_key)
        if qkv.bias is not None:
            # DINOv3 has no bias on the keys.
            keys_only = slice(config.dim, 2 * config.dim)
            qkv = eqx.tree_at(lambda linear: linear.bias, qkv, qkv.bias.at[keys_only].set(0))
        self.qkv = qkv
        self.proj = eqx.nn.Linear(config.dim, config.dim, key=proj_key)
        self.heads = config.heads

    def __call__(self, x: Array, cos: Array, sin: Array) -> Array:
        """Let every token attend to every token.

        Args:
            x: `[tokens, dim]`.
            cos: `[tokens, head_dim]` float32 cosines of the rotary embedding.
            sin: `[tokens, head_dim]` float32 sines.

        Returns:
            `[tokens, dim]` in the dtype of `x`; the softmax is taken at least in float32.
        """
        tokens, dim = x.shape
        qkv = jax.vmap(self.qkv)(x).reshape(tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)

        scale = 1 / math.sqrt(dim // self.heads)
        logits = jnp.einsum("qhc,khc->hqk", q, k) * scale
        weights = jax.nn.softmax(logits.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=-1).astype(x.dtype)
        mixed = jnp.einsum("hqk,khc->qhc", weights, v)
        return jax.vmap(self.proj)(mixed.reshape(tokens, dim))
