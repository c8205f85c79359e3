"""From waveform to the spectrogram that the encoders read, in NumPy for loaders; `front_end` is the JAX form."""

import numpy as np

from ._fbank import fbank

SAMPLE_RATE = 32_000
"""Samples a second of every waveform."""
CLIP_SAMPLES = 160_000
"""Samples of a clip: five seconds."""
N_FRAMES = 512
"""Time frames of a spectrogram; those behind the 498 of a clip are filled up."""
MEAN, STD = -7.2, 4.43
"""Statistics of log energies that Bird-MAE was trained with; it divides by twice the standard deviation."""


def fit(wave: np.ndarray) -> np.ndarray:
    """Cut a waveform `[samples]` to a clip, or fill it up with zeros: `[160000]` float32."""
    wave = np.asarray(wave, np.float32)[:CLIP_SAMPLES]
    return np.pad(wave, (0, CLIP_SAMPLES - len(wave)))


def transform(wave: np.ndarray) -> np.ndarray:
    """The spectrogram of a clip.

    Args:
        wave: `[samples]` at 32 kHz; what is more than five seconds is cut off, what is less is filled up with zeros.

    Returns:
        `[512, 128]` float32, time by mel. Silence is -0.98673 throughout.
    """
    clip = fit(wave).astype(np.float64)
    energies = fbank(clip - clip.mean())
    filled = np.pad(energies, ((0, N_FRAMES - len(energies)), (0, 0)), constant_values=energies.min())
    return np.asarray((filled - MEAN) / (2 * STD), np.float32)
