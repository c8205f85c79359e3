"""Data that needs no file: digits of seven segments, shifted, scaled, slanted and noisy."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SIZE = 16
CLASSES = 10

# Ends (x, y) of the segments in a box of width 1 and height 2.
_SEGMENTS = {
    "a": ((0, 0), (1, 0)),
    "b": ((1, 0), (1, 1)),
    "c": ((1, 1), (1, 2)),
    "d": ((0, 2), (1, 2)),
    "e": ((0, 1), (0, 2)),
    "f": ((0, 0), (0, 1)),
    "g": ((0, 1), (1, 1)),
}
_GLYPHS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


class Batch(NamedTuple):
    """Images with what they show.

    Attributes:
        images: `[batch, 1, SIZE, SIZE]` float32, about 0 for paper and 1 for ink.
        labels: `[batch]` int32 digits.
    """

    images: np.ndarray
    labels: np.ndarray


def digits(count: int, seed: int = 0, *, noise: float = 0.2) -> Batch:
    """Draw digits.

    Args:
        count: Number of images.
        seed: The same seed gives the same images.
        noise: Standard deviation of what is added to every pixel.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count, dtype=np.int32)
    scale = rng.uniform(4, 6, count)
    slant = rng.uniform(-0.2, 0.2, count)
    thickness = rng.uniform(0.7, 1.3, count)
    left = rng.uniform(2, SIZE - 3 - scale)
    top = rng.uniform(1, SIZE - 2 - 2 * scale)

    rows, columns = np.mgrid[:SIZE, :SIZE]
    # Where each pixel lies in the box of its glyph, in units of the box.
    y = (rows[None] - top[:, None, None]) / scale[:, None, None]
    x = (columns[None] - left[:, None, None]) / scale[:, None, None] + slant[:, None, None] * (y - 1)
    distance = np.full((count, SIZE, SIZE), np.inf)
    for name, ends in _SEGMENTS.items():
        shown = np.array([name in glyph for glyph in _GLYPHS])[labels]
        distance[shown] = np.minimum(distance[shown], _distance(x[shown], y[shown], *ends))
    pixels = distance * scale[:, None, None]
    ink = 1 / (1 + np.exp(np.clip(3 * (pixels - thickness[:, None, None]), -30, 30)))
    images = ink + rng.normal(0, noise, ink.shape)
    return Batch(images[:, None].astype(np.float32), labels)


def _distance(x: np.ndarray, y: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> np.ndarray:
    """Distance of points to a segment of length 1."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip((x - start[0]) * dx + (y - start[1]) * dy, 0, 1)
    distance: np.ndarray = np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
    return distance


def batches(data: Batch, size: int, steps: int, seed: int = 0) -> Iterator[Batch]:
    """Batches in random order; every image is seen once before one is seen again.

    Args:
        data: Images and labels, `size` of them at least.
        size: Images in a batch.
        steps: Number of batches.
        seed: Seed of the order.
    """
    rng = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(len(data.labels))
        chosen, order = order[:size], order[size:]
        yield Batch(data.images[chosen], data.labels[chosen])
