"""Multi-head self-attention."""

from collections.abc import Callable

import equinox as eqx
import jax
from jax import Array

from ._rope import rotate


def per_token(layer: Callable[[Array], Array], x: Array) -> Array:
    """Apply a layer for one vector to each along the leading axes of `x`."""
    for _ in range(x.ndim - 1):
        layer = jax.vmap(layer)
    return layer(x)


class Attention(eqx.Module):
    """Self-attention over the tokens of one sample.

    Attributes:
        qkv: One projection to queries, keys and values; heads vary slowest inside each.
        q_norm: LayerNorm over the channels of a head of the queries, before they are rotated.
        k_norm: The same for the keys.
        proj: Projection of the joined heads.
        heads: Number of heads.
    """

    qkv: eqx.nn.Linear
    q_norm: eqx.nn.LayerNorm | None
    k_norm: eqx.nn.LayerNorm | None
    proj: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, dim: int, heads: int, *, qk_norm: bool, eps: float, key: Array):
        qkv_key, proj_key = jax.random.split(key)
        self.qkv = eqx.nn.Linear(dim, 3 * dim, key=qkv_key)
        self.q_norm = eqx.nn.LayerNorm(dim // heads, eps=eps) if qk_norm else None
        self.k_norm = eqx.nn.LayerNorm(dim // heads, eps=eps) if qk_norm else None
        self.proj = eqx.nn.Linear(dim, dim, key=proj_key)
        self.heads = heads

    def __call__(self, x: Array, rope: tuple[Array, Array] | None) -> Array:
        """Let every token attend to every token.

        Args:
            x: `[tokens, dim]`.
            rope: Cosines and sines `[tokens, head_dim]`, or None for no rotation.

        Returns:
            `[tokens, dim]` in the dtype of `x`; the softmax is taken in float32.
        """
        tokens, dim = x.shape
        qkv = per_token(self.qkv, x).reshape(tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = per_token(self.q_norm, q), per_token(self.k_norm, k)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        # [tokens, heads, head_dim]; heads before tokens, as PyTorch has it, would mix them up without an error.
        mixed = jax.nn.dot_product_attention(q, k, v)
        return per_token(self.proj, mixed.reshape(tokens, dim))
