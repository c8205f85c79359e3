"""Classifiers on frozen embeddings: the online probe of training, and the three of the benchmark."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from ._attention import per_token
from ._config import require
from ._losses import at_least_float32, cross_entropy
from ._model import EncoderOutput


def pool(output: EncoderOutput, pooling: Literal["cls", "patches"]) -> Array:
    """One embedding `[batch, embed_dim]` a sample: the mean class token, or the mean patch token."""
    return jnp.mean(output.cls if pooling == "cls" else output.patches, axis=1)


class LinearProbe(eqx.Module):
    """A LayerNorm and a linear layer.

    Attributes:
        norm: The LayerNorm.
        linear: The linear layer.
    """

    norm: eqx.nn.LayerNorm
    linear: eqx.nn.Linear

    def __init__(self, dim: int, n_classes: int, *, eps: float = 1e-6, std: float | None = 0.02, key: Array):
        """Build a probe with random weights.

        Args:
            dim: Width of an embedding.
            n_classes: Number of classes.
            eps: Epsilon of the LayerNorm.
            std: Standard deviation of the initial weights; the bias is then zero. None for Equinox's initial values.
            key: PRNG key.
        """
        layer_key, weight_key = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(dim, eps=eps)
        linear = eqx.nn.Linear(dim, n_classes, key=layer_key)
        if std is not None:
            values = (std * jax.random.normal(weight_key, (n_classes, dim)), jnp.zeros(n_classes))
            linear = eqx.tree_at(lambda layer: (layer.weight, layer.bias), linear, values)
        self.linear = linear

    def __call__(self, embedding: Array) -> Array:
        """Map an embedding `[dim]` to logits `[n_classes]`."""
        return self.linear(self.norm(embedding))


def online_probe(dim: int, n_classes: int, *, key: Array) -> LinearProbe:
    """The probe that is trained along with an encoder, to watch it."""
    return LinearProbe(dim, n_classes, eps=1e-5, std=None, key=key)


def online_probe_loss(probe: LinearProbe, embeddings: Array, target: Array) -> Array:
    """Cross entropy of the online probe; no gradient reaches the embeddings `[batch, dim]`.

    Otherwise labels would train the encoder, in self-supervised training too.
    """
    return cross_entropy(per_token(probe, at_least_float32(lax.stop_gradient(embeddings))), target)


class MlpProbe(eqx.Module):
    """A hidden layer of twice the width with GELU, approximated by tanh."""

    fc1: eqx.nn.Linear
    fc2: eqx.nn.Linear

    def __init__(self, dim: int, n_classes: int, *, key: Array):
        key1, key2 = jax.random.split(key)
        self.fc1 = eqx.nn.Linear(dim, 2 * dim, key=key1)
        self.fc2 = eqx.nn.Linear(2 * dim, n_classes, key=key2)

    def __call__(self, embedding: Array) -> Array:
        """Map an embedding `[dim]` to logits `[n_classes]`."""
        return self.fc2(jax.nn.gelu(self.fc1(embedding), approximate=True))


class CentroidProbe(eqx.Module):
    """Ten times the cosine between an embedding and the centroid of each class.

    Attributes:
        centroids: `[n_classes, dim]`.
    """

    centroids: Array

    def __init__(self, embeddings: Array, target: Array):
        """Take the mean embedding of each class.

        Args:
            embeddings: `[samples, dim]`.
            target: `[samples, n_classes]` of 0 and 1.
        """
        require(target.ndim == 2, f"CentroidProbe: the target must be [samples, n_classes], but it is {target.shape}.")
        count = jnp.maximum(jnp.sum(target, axis=0), 1)[:, None]
        self.centroids = target.T.astype(embeddings.dtype) @ embeddings / count

    def __call__(self, embedding: Array) -> Array:
        """Map an embedding `[dim]` to logits `[n_classes]`; those of a class without a sample are zero."""
        lengths = jnp.linalg.norm(self.centroids, axis=1) * jnp.linalg.norm(embedding)
        return 10 * (self.centroids @ embedding) / jnp.maximum(lengths, 1e-12)
