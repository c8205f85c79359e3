"""The projection head that DINO trains with, on top of the class token."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class DinoHead(eqx.Module):
    """Three layers to a bottleneck of unit length, then one score for each prototype (Caron et al., 2021).

    As in Meta's code: no activation after the third layer, and a last layer without bias or weight normalisation.

    Attributes:
        mlp: The three layers; GELU follows the first two.
        last_layer: `[prototypes, bottleneck]` projection.
    """

    mlp: tuple[eqx.nn.Linear, eqx.nn.Linear, eqx.nn.Linear]
    last_layer: eqx.nn.Linear

    def __init__(self, dim: int, prototypes: int, *, hidden: int = 2048, bottleneck: int = 256, key: Array):
        """Build a head with random weights.

        Args:
            dim: Width of a token.
            prototypes: Number of scores.
            hidden: Width of the first two layers.
            bottleneck: Width of the third.
            key: PRNG key; equal keys give equal weights.
        """
        key1, key2, key3, last_key = jax.random.split(key, 4)
        self.mlp = (
            eqx.nn.Linear(dim, hidden, key=key1),
            eqx.nn.Linear(hidden, hidden, key=key2),
            eqx.nn.Linear(hidden, bottleneck, key=key3),
        )
        self.last_layer = eqx.nn.Linear(bottleneck, prototypes, use_bias=False, key=last_key)

    def __call__(self, token: Array) -> Array:
        """Scores `[prototypes]` of a token `[dim]`."""
        first, second, third = self.mlp
        x = jax.nn.gelu(first(token), approximate=False)
        x = third(jax.nn.gelu(second(x), approximate=False))
        length = jnp.sqrt(jnp.sum(x * x))
        return self.last_layer(x / jnp.maximum(length, 1e-12))
