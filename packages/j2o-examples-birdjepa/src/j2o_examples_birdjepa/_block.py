"""Feed-forward layers and the pre-norm transformer block."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._attention import Attention, per_token


class Mlp(eqx.Module):
    """`fc2(gelu(fc1(x)))`."""

    fc1: eqx.nn.Linear
    fc2: eqx.nn.Linear
    gelu: Literal["erf", "tanh"] = eqx.field(static=True)

    def __init__(self, dim: int, hidden: int, *, gelu: Literal["erf", "tanh"], key: Array):
        key1, key2 = jax.random.split(key)
        self.fc1 = eqx.nn.Linear(dim, hidden, key=key1)
        self.fc2 = eqx.nn.Linear(hidden, dim, key=key2)
        self.gelu = gelu

    def __call__(self, x: Array) -> Array:
        """Map `[tokens, dim]` to `[tokens, dim]`."""
        return per_token(self.fc2, jax.nn.gelu(per_token(self.fc1, x), approximate=self.gelu == "tanh"))


class SwiGlu(eqx.Module):
    """`w2(silu(w1(x)) * w3(x))` without biases (Shazeer, "GLU Variants Improve Transformer", 2020).

    `w2` is the output matrix here; in DINOv3 `w3` is.
    """

    w1: eqx.nn.Linear
    w2: eqx.nn.Linear
    w3: eqx.nn.Linear

    def __init__(self, dim: int, hidden: int, *, key: Array):
        key1, key2, key3 = jax.random.split(key, 3)
        self.w1 = eqx.nn.Linear(dim, hidden, use_bias=False, key=key1)
        self.w2 = eqx.nn.Linear(hidden, dim, use_bias=False, key=key2)
        self.w3 = eqx.nn.Linear(dim, hidden, use_bias=False, key=key3)

    def __call__(self, x: Array) -> Array:
        """Map `[tokens, dim]` to `[tokens, dim]`."""
        return per_token(self.w2, jax.nn.silu(per_token(self.w1, x)) * per_token(self.w3, x))


class Block(eqx.Module):
    """`x + gamma1 * attn(norm1(x))`, then `x + gamma2 * mlp(norm2(x))`.

    Attributes:
        norm1: LayerNorm before the attention.
        attn: The attention.
        gamma1: `[dim]` scale of its branch (Touvron et al., "Going deeper with image transformers", 2021), or None.
        norm2: LayerNorm before the feed-forward layer.
        mlp: The feed-forward layer.
        gamma2: `[dim]` scale of its branch, or None.
        dropout: Rate of dropout behind the feed-forward layer.
    """

    norm1: eqx.nn.LayerNorm
    attn: Attention
    gamma1: Array | None
    norm2: eqx.nn.LayerNorm
    mlp: Mlp | SwiGlu
    gamma2: Array | None
    dropout: float = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        eps: float = 1e-5,
        gelu: Literal["erf", "tanh"] = "erf",
        swiglu: bool = False,
        qk_norm: bool = False,
        layerscale_init: float | None = None,
        dropout: float = 0.0,
        key: Array,
    ):
        attn_key, mlp_key = jax.random.split(key)
        self.norm1 = eqx.nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qk_norm=qk_norm, eps=eps, key=attn_key)
        self.norm2 = eqx.nn.LayerNorm(dim, eps=eps)
        self.mlp = SwiGlu(dim, hidden, key=mlp_key) if swiglu else Mlp(dim, hidden, gelu=gelu, key=mlp_key)
        self.gamma1 = None if layerscale_init is None else jnp.full((dim,), layerscale_init)
        self.gamma2 = None if layerscale_init is None else jnp.full((dim,), layerscale_init)
        self.dropout = dropout

    def __call__(self, x: Array, rope: tuple[Array, Array] | None = None, *, key: Array | None = None) -> Array:
        """Apply the block to the tokens of one sample.

        Args:
            x: `[tokens, dim]`.
            rope: Cosines and sines `[tokens, head_dim]`, or None for no rotation.
            key: PRNG key of the dropout, or None for no dropout.

        Returns:
            `[tokens, dim]`.
        """
        mixed = self.attn(per_token(self.norm1, x), rope)
        x = x + (mixed if self.gamma1 is None else self.gamma1 * mixed)
        mapped = self.mlp(per_token(self.norm2, x))
        if key is not None and self.dropout:
            kept = jax.random.bernoulli(key, 1 - self.dropout, mapped.shape)
            mapped = jnp.where(kept, mapped / (1 - self.dropout), 0)
        return x + (mapped if self.gamma2 is None else self.gamma2 * mapped)
