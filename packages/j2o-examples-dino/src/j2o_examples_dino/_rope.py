"""Rotary position embedding on the two axes of the patch grid."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import Array

from ._config import DinoConfig

Tables = tuple[Array, Array]
"""Cosines and sines `[tokens, head_dim]`, float32."""


def rope_periods(config: DinoConfig) -> np.ndarray:
    """The rotary periods of a configuration, as they are before a checkpoint is read.

    Published checkpoints hold the series rounded to bfloat16, which moves a period by up to 0.3%.

    Returns:
        `[head_dim / 4]` float32: `base ** (k / (head_dim / 4))`, rounded to bfloat16 unless the configuration asks for
        `"fp32"`.
    """
    count = config.head_dim // 4
    exact = config.rope_base ** (np.arange(count, dtype=np.float64) / count)
    if config.rope_periods == "fp32":
        return exact.astype(np.float32)
    return exact.astype(ml_dtypes.bfloat16).astype(np.float32)


class RotaryEmbedding(eqx.Module):
    """Cosines and sines by which queries and keys of each token are rotated.

    Attributes:
        periods: `[head_dim / 4]` float32. A buffer: no gradient reaches it.
        normalize: What patch coordinates are divided by.
    """

    periods: Array
    normalize: str = eqx.field(static=True)

    def __init__(self, config: DinoConfig):
        self.periods = jnp.asarray(rope_periods(config))
        self.normalize = config.rope_normalize

    def tables(self, height: int, width: int, prefix: int) -> tuple[Array, Array]:
        """Cosines and sines for a grid of patches behind `prefix` tokens that have no place in the image.

        The prefix gets the rotation by zero (cosine 1, sine 0), so that all tokens rotate in one go.

        Args:
            height: Rows of the patch grid.
            width: Columns of the patch grid.
            prefix: Number of tokens before the patches.

        Returns:
            Two `[prefix + height * width, head_dim]` float32 tables.
        """
        # Patch centres in [-1, 1]. Row-major: the row index varies slowest.
        row_extent, column_extent = jnp.asarray(height), jnp.asarray(width)
        if self.normalize != "separate":
            # JAX's maximum and minimum, because Python's cannot decide between symbolic sizes.
            extreme = jnp.maximum if self.normalize == "max" else jnp.minimum
            row_extent = column_extent = extreme(row_extent, column_extent)
        rows = 2 * (jnp.arange(height, dtype=jnp.float32) + 0.5) / row_extent - 1
        columns = 2 * (jnp.arange(width, dtype=jnp.float32) + 0.5) / column_extent - 1
        coordinates = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)  # [height, width, 2]
        coordinates = coordinates.reshape(height * width, 2, 1)

        periods = jax.lax.stop_gradient(self.periods)
        # A quarter of the channels for rows, a quarter for columns; the other half of each pair repeats them.
        angles = (2 * math.pi * coordinates / periods).reshape(height * width, -1)
        angles = jnp.concatenate([angles, angles], axis=-1)
        angles = jnp.pad(angles, ((prefix, 0), (0, 0)))
        return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate each pair of channels (i, i + head_dim / 2) by its token's angle.

    Args:
        x: `[tokens, heads, head_dim]` queries or keys.
        cos: `[tokens, head_dim]` float32 cosines.
        sin: `[tokens, head_dim]` float32 sines.

    Returns:
        `[tokens, heads, head_dim]`, in the dtype of `x`; the arithmetic is done at least in float32.
    """
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, cos.dtype))
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x * cos[:, None, :] + turned * sin[:, None, :]).astype(dtype)
