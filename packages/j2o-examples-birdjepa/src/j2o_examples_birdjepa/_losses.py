"""Losses that are not in Optax: SIGReg, and the asymmetric loss of multi-label classification."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_KNOTS = 17


def at_least_float32(x: Array) -> Array:
    """The array in float32 if its dtype is narrower, else as it is: losses and norms are computed so."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def cross_entropy(logits: Array, target: Array) -> Array:
    """The mean negative log likelihood of integer targets `[batch]` under logits `[batch, classes]`."""
    log_probabilities = jax.nn.log_softmax(at_least_float32(logits))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, target[:, None], axis=1))


def random_directions(key: Array, dim: int, count: int = 256) -> Array:
    """Directions `[dim, count]`: normal numbers, each column of length 1."""
    columns = jax.random.normal(key, (dim, count))
    lengths: Array = jnp.linalg.norm(columns, axis=0, keepdims=True)
    return columns / lengths


def sigreg(z: Array, directions: Array) -> Array:
    """How far embeddings are from a standard normal distribution, seen along random directions.

    The Epps-Pulley statistic of Balestriero and LeCun, "LeJEPA", 2025: characteristic functions on 17 points from 0 to
    3, weighted by that of the normal distribution. For normal `z` it is near 1, whatever the batch.

    Args:
        z: `[views, batch, dim]`.
        directions: `[dim, count]`, as `random_directions` draws them; anew for every call.

    Returns:
        A scalar, at least float32, the mean over views and directions.
    """
    points = 3 * np.arange(_KNOTS) / (_KNOTS - 1)
    spacing = np.full(_KNOTS, 2 * points[1])
    spacing[[0, -1]] /= 2
    normal = np.exp(-(points**2) / 2)
    z = at_least_float32(z)
    weights = jnp.asarray(spacing * normal, z.dtype)
    angles = (z @ directions)[..., None] * jnp.asarray(points, z.dtype)  # [views, batch, count, knots]
    real, imaginary = jnp.mean(jnp.cos(angles), axis=1), jnp.mean(jnp.sin(angles), axis=1)
    statistic = ((real - jnp.asarray(normal, z.dtype)) ** 2 + imaginary**2) @ weights
    return z.shape[1] * jnp.mean(statistic)


def asymmetric_loss(logits: Array, target: Array) -> Array:
    """The asymmetric loss of Ridnik et al., 2021, with the exponents 1 and 4 and the margin 0.05.

    Args:
        logits: `[batch, classes]`.
        target: `[batch, classes]` of 0 and 1.

    Returns:
        A scalar, at least float32, the mean over samples and classes.
    """
    positive = jax.nn.sigmoid(at_least_float32(logits))
    negative = jnp.minimum(1 - positive + 0.05, 1)
    likelihood = target * jnp.log(jnp.maximum(positive, 1e-8)) + (1 - target) * jnp.log(jnp.maximum(negative, 1e-8))
    certain = positive * target + negative * (1 - target)
    return -jnp.mean(likelihood * (1 - certain) ** (target + 4 * (1 - target)))
