"""The model that the command builds, and the function of it that is exported."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
from jax import Array

from ._backbone import Backbone
from ._build import build
from ._checkpoint import load
from ._variants import family, variant


class FeatureExtractor(eqx.Module):
    """Class and patch tokens of a batch of images.

    Attributes:
        backbone: The model for one image.
    """

    backbone: Backbone

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Map images `[batch, 3, height, width]` to class `[batch, dim]` and patch `[batch, patches, dim]` tokens."""

        def one(image: Array) -> tuple[Array, Array]:
            features = self.backbone.forward_features(image)
            return features["x_norm_clstoken"], features["x_norm_patchtokens"]

        return jax.vmap(one)(images)


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """Which model to build; the same choice gives the same model in every process.

    Attributes:
        variant: Name of a published variant.
        weights: A checkpoint, or None for random weights.
        seed: Seed of random weights.
    """

    variant: str
    weights: str | None
    seed: int

    def build(self) -> FeatureExtractor:
        """Build the model.

        Random weights come with full-strength residual branches: at the 1e-5 that training starts from, blocks would
        hardly change a token, and neither an error in them nor their absence would show.

        Raises:
            ConfigError: If there is no such variant.
            CheckpointError: If the checkpoint does not fit it.
        """
        config = variant(self.variant)
        if self.weights is not None:
            return FeatureExtractor(load(Path(self.weights), config, drop_zero_bias=True))
        config = dataclasses.replace(config, layer_scale_init=1.0)
        return FeatureExtractor(build(config, key=jax.random.key(self.seed)))

    def __str__(self) -> str:
        origin = f"random weights, seed {self.seed}" if self.weights is None else Path(self.weights).name
        return f"{family(self.variant)} {self.variant} ({origin})"
