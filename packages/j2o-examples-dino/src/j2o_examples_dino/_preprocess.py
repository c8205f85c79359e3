"""From an RGB image to the model's input: resize, normalise, channels first. Plain JAX, so that it can be exported."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ._errors import ImageError


class ImageStatistics(NamedTuple):
    """Mean and standard deviation of each colour channel, of values in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


LVD = ImageStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Statistics for the models trained on web images (LVD-1689M)."""

SAT = ImageStatistics(mean=(0.430, 0.411, 0.296), std=(0.213, 0.156, 0.143))
"""Statistics for the models trained on satellite images (SAT-493M)."""


def statistics_for(variant_name: str) -> ImageStatistics:
    """The statistics that a published variant expects."""
    return SAT if variant_name.endswith("_sat493m") else LVD


def preprocess(image: ArrayLike, size: int | tuple[int, int] = 256, statistics: ImageStatistics = LVD) -> Array:
    """Turn an RGB image into the model's input.

    The whole image is resized, without cropping and without keeping its aspect, bilinearly with antialiasing, in
    floating point: rescaling to [0, 1] comes first, so nothing is rounded in between.

    Args:
        image: `[height, width, 3]` colours from 0 to 255, as uint8 or floats.
        size: Side of the square result in pixels, or its `(height, width)`.
        statistics: What the colours are normalised by.

    Returns:
        `[3, height, width]` float32.

    Raises:
        ImageError: If the image is not `[height, width, 3]` with at least one pixel, or the size is not positive.
    """
    pixels = jnp.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ImageError(
            f"preprocess takes one RGB image [height, width, 3], but got shape {tuple(pixels.shape)}. "
            "For a batch of images of equal size, use jax.vmap."
        )
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ImageError(f"preprocess: size must be positive, but it is {size}.")
    x = pixels.astype(jnp.float32) / 255
    x = jax.image.resize(x, (height, width, 3), method="linear", antialias=True)
    mean = jnp.asarray(statistics.mean, jnp.float32)
    std = jnp.asarray(statistics.std, jnp.float32)
    return jnp.transpose((x - mean) / std, (2, 0, 1))
