"""All that a model computes on the way, by name: what references hold and comparisons compare."""

import hashlib
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ._build import Model
from ._state_dict import state_dict
from ._variants import AnyConfig


def layer_names(config: AnyConfig) -> list[str]:
    """Names of all tokens after each block, or stage, in order."""
    return [f"layer.{index}" for index in range(config.depth)]


def feature_names(config: AnyConfig) -> list[str]:
    """Names of what `layer_features` gives, in the order of computation."""
    return [*layer_names(config), "cls", "registers", "patches"]


def layer_features(model: Model, images: Array) -> dict[str, Array]:
    """Tokens of a batch after each layer, and the results after the final norm.

    Args:
        model: The model for one image.
        images: `[batch, 3, height, width]`.

    Returns:
        `layer.0` and so on `[batch, tokens, dim]`, before the norm; `cls` `[batch, dim]`, `registers`
        `[batch, registers, dim]` and `patches` `[batch, patches, dim]` after it.
    """

    def one(image: Array) -> dict[str, Array]:
        outputs, _ = model.layer_outputs(image)
        normed = jax.vmap(model.layer_norm(len(outputs) - 1))(outputs[-1])
        ends = [normed[0], normed[1 : model.prefix], normed[model.prefix :]]
        return dict(zip(feature_names(model.config), [*outputs, *ends], strict=True))

    return jax.vmap(one)(images)


def compute(model: Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """`layer_features` as NumPy arrays."""
    features = eqx.filter_jit(layer_features)(model, jnp.asarray(images))
    return {name: np.asarray(features[name]) for name in feature_names(model.config)}


def weights_digest(model: Model) -> str:
    """A SHA-256 digest of a model's weights: equal exactly if names, dtypes, shapes and every bit are equal."""
    return tensors_digest(state_dict(model))


def tensors_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """The digest of a state dict, whatever the order of its keys."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
