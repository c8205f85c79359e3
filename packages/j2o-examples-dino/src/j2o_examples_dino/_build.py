"""From a configuration to a model of its family."""

from jax import Array

from ._config import ConvNextConfig, DinoV2Config
from ._convnext import ConvNext
from ._model import DinoV3
from ._model_v2 import DinoV2
from ._variants import AnyConfig, variant

Model = DinoV3 | DinoV2 | ConvNext


def build(config: AnyConfig, *, key: Array) -> Model:
    """Build the model of a configuration with random weights.

    Args:
        config: Hyperparameters of whichever family.
        key: PRNG key; equal keys give equal weights.
    """
    if isinstance(config, DinoV2Config):
        return DinoV2(config, key=key)
    if isinstance(config, ConvNextConfig):
        return ConvNext(config, key=key)
    return DinoV3(config, key=key)


def create(name: str, *, key: Array) -> Model:
    """Build a published variant with random weights.

    Args:
        name: One of the keys of `VARIANTS`, for instance `"vits16"`.
        key: PRNG key; equal keys give equal weights.

    Raises:
        ConfigError: If there is no variant of that name.
    """
    return build(variant(name), key=key)
