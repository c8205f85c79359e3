"""The two feed-forward layers: a GELU MLP and SwiGLU."""

import equinox as eqx
import jax
from jax import Array

from ._config import DinoConfig


class Mlp(eqx.Module):
    """`fc2(gelu(fc1(x)))` with the exact GELU (the one with erf)."""

    fc1: eqx.nn.Linear
    fc2: eqx.nn.Linear

    def __init__(self, config: DinoConfig, *, key: Array):
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

    def __init__(self, config: DinoConfig, *, key: Array):
        key1, key2, key3 = jax.random.split(key, 3)
        self.w1 = eqx.nn.Linear(config.dim, config.hidden, key=key1)
        self.w2 = eqx.nn.Linear(config.dim, config.hidden, key=key2)
        self.w3 = eqx.nn.Linear(config.hidden, config.dim, key=key3)

    def __call__(self, x: Array) -> Array:
        """Map `[tokens, dim]` to `[tokens, dim]`."""
        hidden = jax.nn.silu(jax.vmap(self.w1)(x)) * jax.vmap(self.w2)(x)
        return jax.vmap(self.w3)(hidden)
