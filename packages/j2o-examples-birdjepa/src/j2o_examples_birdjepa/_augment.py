"""Augmentations of spectrograms `[time, mel]` in NumPy; each draws from the generator that it is given.

`FreqMask` and `TimeMask` bear the names that they have where they come from, written for `[mel, time]`: on our layout
the first clears stretches of time and the second bands of mel frequency.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.ndimage

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Takes `[time, mel]` and a generator of random numbers, and gives `[time, mel]` of the same shape."""


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Pad by zeros on all sides and cut the old size out of it anywhere."""

    pad: int = 4

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        padded = np.pad(x, self.pad)
        top, left = rng.integers(0, 2 * self.pad + 1, 2)
        return padded[top : top + x.shape[0], left : left + x.shape[1]]


@dataclasses.dataclass(frozen=True)
class Roll:
    """Turn time round by a random number of frames: what leaves at the end comes in at the beginning.

    Two views of a recording that is shorter than a crop begin at the same moment. An encoder that is to find what they
    have in common needs no more than that moment, unless each is turned by itself.
    """

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return np.roll(x, int(rng.integers(0, x.shape[0])), axis=0)


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
    """Mirror the last axis, mel frequency."""

    p: float = 0.5

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return x[:, ::-1] if rng.random() < self.p else x


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Add normal noise."""

    std: float = 0.1

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return x + self.std * rng.standard_normal(x.shape)


def _clear(x: np.ndarray, axis: int, longest: int, n: int, rng: np.random.Generator) -> np.ndarray:
    x = x.copy()
    for _ in range(n):
        width = min(int(rng.integers(0, longest + 1)), x.shape[axis])
        start = int(rng.integers(0, x.shape[axis] - width + 1))
        x[(slice(None),) * axis + (slice(start, start + width),)] = 0
    return x


@dataclasses.dataclass(frozen=True)
class FreqMask:
    """Set stretches of the first axis, here time, to zero."""

    longest: int = 10
    n: int = 2

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return _clear(x, 0, self.longest, self.n, rng)


@dataclasses.dataclass(frozen=True)
class TimeMask:
    """Set bands of the second axis, here mel frequency, to zero."""

    longest: int = 20
    n: int = 2

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return _clear(x, 1, self.longest, self.n, rng)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a part out and stretch it to the old size, linearly."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`; if ten draws do not fit, it stays as it is."""
        height, width = x.shape
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h <= height and 0 < w <= width:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                part = x[top : top + h, left : left + w]
                return np.asarray(scipy.ndimage.zoom(part, (height / h, width / w), order=1))
        return x


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Scale all values, then their distance from the mean."""

    brightness: float = 0.8
    contrast: float = 0.8

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        x = x * (1 + rng.uniform(-self.brightness, self.brightness))
        mean = x.mean()
        return np.asarray((x - mean) * (1 + rng.uniform(-self.contrast, self.contrast)) + mean)


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """Blur by a Gaussian of random width."""

    sigma: tuple[float, float] = (0.1, 2.0)

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return np.asarray(scipy.ndimage.gaussian_filter(x, rng.uniform(*self.sigma)))


@dataclasses.dataclass(frozen=True)
class Solarize:
    """Replace x by 1 - x where it is above the threshold."""

    threshold: float = 0.5
    p: float = 0.2

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment `[time, mel]`."""
        return np.where(x > self.threshold, 1 - x, x) if rng.random() < self.p else x


AUGMENTATIONS: dict[str, type] = {
    "random_crop": RandomCrop,
    "roll": Roll,
    "horizontal_flip": HorizontalFlip,
    "gaussian_noise": GaussianNoise,
    "freq_mask": FreqMask,
    "time_mask": TimeMask,
    "random_resized_crop": RandomResizedCrop,
    "color_jitter": ColorJitter,
    "gaussian_blur": GaussianBlur,
    "solarize": Solarize,
}
"""All augmentations by name."""


def augment(x: np.ndarray, augmentations: Sequence[Augmentation], rng: np.random.Generator) -> np.ndarray:
    """Apply augmentations in their order: `[time, mel]` to `[time, mel]` float32."""
    for augmentation in augmentations:
        x = augmentation(x, rng)
    return np.ascontiguousarray(x, np.float32)
