"""A linear classifier on DINO features."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from ._build import Model


class LinearClassifier(eqx.Module):
    """Class logits from the class token joined with the mean patch token.

    Attributes:
        backbone: The feature extractor.
        linear_head: `[classes, 2 * dim]` projection.
    """

    backbone: Model
    linear_head: eqx.nn.Linear

    def __init__(self, backbone: Model, classes: int, *, key: Array):
        self.backbone = backbone
        self.linear_head = eqx.nn.Linear(2 * backbone.config.dim, classes, key=key)

    def __call__(self, image: Array) -> Array:
        """Logits `[classes]` of one image `[channels, height, width]`."""
        features = self.backbone.forward_features(image)
        mean = jnp.mean(features["x_norm_patchtokens"], axis=0)
        return self.linear_head(jnp.concatenate([features["x_norm_clstoken"], mean]))
