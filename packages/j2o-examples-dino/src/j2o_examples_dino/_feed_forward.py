"""The feed-forward layers: a GELU MLP and SwiGLU, the latter with three matrices or two."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._config import TransformerConfig


class Mlp(eqx.Module):
    """`fc2(gelu(fc1(x)))` with the exact GELU (the one with erf)."""

    fc1: eqx.nn.Linear
    fc2: eqx.nn.Linear

    def __init__(self, config: TransformerConfig, *, key: Array):
        key1, key2 = jax.random.split(key)
        self.fc1 = eqx.nn.Linear(config.dim, config.hidden, key=key1)
        self.fc2 = eqx.nn.Linear(config.hidden, config.dim, key=key2)

    def __call__(self, x: Array) -> Array:
        """Map `[tokens, dim]` to `[tokens, dim]`."""
        hidden = jax.nn.gelu(jax.vmap(self.fc1)(x), approximate=False)
        return jax.vmap(self.fc2)(hidden)


class SwiGlu(eqx.Module):
    """`w3(silu(w1(x)) * w2(x))` (Shazeer, "GLU Variants Improve Transformer", 2020)."""

    w1: eqx.nn.Linear
    w2: eqx.nn.Linear
    w3: eqx.nn.Linear

    def __init__(self, config: TransformerConfig, *, key: Array):
        key1, key2, key3 = jax.random.split(key, 3)
        self.w1 = eqx.nn.Linear(config.dim, config.hidden, key=key1)
        self.w2 = eqx.nn.Linear(config.dim, config.hidden, key=key2)
        self.w3 = eqx.nn.Linear(config.hidden, config.dim, key=key3)

    def __call__(self, x: Array) -> Array:
        """Map `[tokens, dim]` to `[tokens, dim]`."""
        hidden = jax.nn.silu(jax.vmap(self.w1)(x)) * jax.vmap(self.w2)(x)
        return jax.vmap(self.w3)(hidden)


class FusedSwiGlu(eqx.Module):
    """SwiGLU whose first two matrices are one, as DINOv2's largest model has it."""

    w12: eqx.nn.Linear
    w3: eqx.nn.Linear

    def __init__(self, config: TransformerConfig, *, key: Array):
        key12, key3 = jax.random.split(key)
        self.w12 = eqx.nn.Linear(config.dim, 2 * config.hidden, key=key12)
        self.w3 = eqx.nn.Linear(config.hidden, config.dim, key=key3)

    def __call__(self, x: Array) -> Array:
        """Map `[tokens, dim]` to `[tokens, dim]`."""
        gate, value = jnp.split(jax.vmap(self.w12)(x), 2, axis=-1)
        return jax.vmap(self.w3)(jax.nn.silu(gate) * value)


FeedForward = Mlp | SwiGlu | FusedSwiGlu


def feed_forward(config: TransformerConfig, *, key: Array) -> FeedForward:
    """The feed-forward layer that a configuration asks for."""
    if config.ffn == "mlp":
        return Mlp(config, key=key)
    return SwiGlu(config, key=key) if config.ffn == "swiglu" else FusedSwiGlu(config, key=key)
