"""One pre-norm transformer block with scaled residual branches."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._attention import SelfAttention
from ._config import TransformerConfig
from ._feed_forward import FeedForward, feed_forward
from ._rope import Tables


class LayerScale(eqx.Module):
    """A learned scale for each channel (Touvron et al., "Going deeper with image transformers", 2021)."""

    gamma: Array

    def __init__(self, config: TransformerConfig):
        self.gamma = jnp.full((config.dim,), config.layer_scale_init)

    def __call__(self, x: Array) -> Array:
        """Scale the channels of `[tokens, dim]`."""
        return x * self.gamma


class Block(eqx.Module):
    """`x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`."""

    norm1: eqx.nn.LayerNorm
    attn: SelfAttention
    ls1: LayerScale
    norm2: eqx.nn.LayerNorm
    mlp: FeedForward
    ls2: LayerScale

    def __init__(self, config: TransformerConfig, *, key: Array):
        attn_key, mlp_key = jax.random.split(key)
        self.norm1 = eqx.nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = SelfAttention(config, key=attn_key)
        self.ls1 = LayerScale(config)
        self.norm2 = eqx.nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = feed_forward(config, key=mlp_key)
        self.ls2 = LayerScale(config)

    def __call__(self, x: Array, rotary: Tables | None = None) -> Array:
        """Apply the block to `[tokens, dim]`, given rotary tables `[tokens, head_dim]` or none."""
        x = x + self.ls1(self.attn(jax.vmap(self.norm1)(x), rotary))
        return x + self.ls2(self.mlp(jax.vmap(self.norm2)(x)))
