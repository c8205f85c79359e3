"""The model that the command builds, and the function of it that is exported."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
from jax import Array

from ._build import Model, build
from ._checkpoint import load
from ._layers import layer_features, layer_names
from ._variants import family, variant


class FeatureExtractor(eqx.Module):
    """Class and patch tokens of a batch of images.

    Attributes:
        backbone: The model for one image.
        layers: Whether the tokens after each layer are given, too.
    """

    backbone: Model
    layers: bool = eqx.field(static=True, default=False)

    def __call__(self, images: Array) -> tuple[Array, ...]:
        """Map images to tokens.

        Args:
            images: `[batch, 3, height, width]`.

        Returns:
            Class `[batch, dim]` and patch `[batch, patches, dim]` tokens, then, if asked for, all tokens
            `[batch, tokens, dim]` after each layer.
        """
        features = layer_features(self.backbone, images)
        after = [features[name] for name in layer_names(self.backbone.config)] if self.layers else []
        return (features["cls"], features["patches"], *after)


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """Which model to build; the same choice gives the same model in every process.

    Attributes:
        variant: Name of a published variant.
        weights: A checkpoint, or None for random weights.
        seed: Seed of random weights.
        layers: Whether the tokens after each layer are wanted.
    """

    variant: str
    weights: str | None
    seed: int
    layers: bool = False

    @property
    def output_names(self) -> list[str]:
        """Names of what the model gives, in order."""
        return ["cls", "patches", *(layer_names(variant(self.variant)) if self.layers else [])]

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
            return FeatureExtractor(load(Path(self.weights), config, drop_zero_bias=True), self.layers)
        config = dataclasses.replace(config, layer_scale_init=1.0)
        return FeatureExtractor(build(config, key=jax.random.key(self.seed)), self.layers)

    def __str__(self) -> str:
        origin = f"random weights, seed {self.seed}" if self.weights is None else Path(self.weights).name
        return f"{family(self.variant)} {self.variant} ({origin})"
