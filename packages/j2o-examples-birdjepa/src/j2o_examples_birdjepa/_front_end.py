"""From waveform to the spectrogram that the encoders read, in JAX for exported graphs; `transform` is in NumPy."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ._config import require
from ._fbank import EPSILON, FbankConfig, hann, mel_filters
from ._transform import CLIP_SAMPLES, MEAN, N_FRAMES, STD

_CONFIG = FbankConfig()


@functools.cache
def _frame_matrix(config: FbankConfig) -> np.ndarray:
    """`[fft_size, window_size]` float32: a frame to the real parts of its spectrum, then the imaginary ones.

    Removing the mean, pre-emphasis, the window and the Fourier transform are linear in the samples of a frame.
    """
    size, half = config.window_size, config.fft_size // 2
    centre = np.eye(size) - 1 / size
    emphasis = np.eye(size) - config.preemphasis * np.eye(size, k=-1)
    emphasis[0, 0] = 1 - config.preemphasis
    angles = 2 * np.pi / config.fft_size * np.outer(np.arange(half), np.arange(size))
    fourier = np.concatenate([np.cos(angles), -np.sin(angles)]) * hann(size)
    return np.asarray(fourier @ emphasis @ centre, np.float32)


def jax_fbank(waves: Array, config: FbankConfig = _CONFIG) -> Array:
    """Log-mel energies as `fbank` gives them: one convolution with constant weights, squares, one product, a logarithm.

    Args:
        waves: `[batch, samples]` float32, with a mean near zero: a large one is removed exactly in real numbers only.
        config: Parameters of the filter bank.

    Returns:
        `[batch, frames, n_mels]` float32. Rounding shows where a filter is next to empty: up to 3e-3 for pure tones.

    Raises:
        ConfigError: If there is less than a frame.
    """
    samples = waves.shape[1]
    require(config.n_frames(samples) > 0, f"fbank: {samples} samples are less than a frame of {config.window_size}.")
    kernel = jnp.asarray(_frame_matrix(config))[:, None, :]
    spectrum = lax.conv_general_dilated(
        waves[:, None, :], kernel, (config.shift,), "VALID", precision=lax.Precision.HIGHEST
    )
    real, imaginary = jnp.split(spectrum, 2, axis=1)
    filters = jnp.asarray(mel_filters(config).T.astype(np.float32))
    energies = jnp.matmul(filters, real * real + imaginary * imaginary, precision=lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(jnp.swapaxes(energies, 1, 2), EPSILON))


def front_end(waves: Array) -> Array:
    """The spectrograms of clips, in JAX: `transform` for a batch, as a graph of a convolution and a product.

    Args:
        waves: `[batch, 160000]` float32.

    Returns:
        `[batch, 512, 128]` float32.

    Raises:
        ConfigError: If the clips have another length.
    """
    require(
        waves.ndim == 2 and waves.shape[1] == CLIP_SAMPLES,
        f"front_end: clips must be [batch, {CLIP_SAMPLES}], but they are {waves.shape}.",
    )
    energies = jax_fbank(waves - jnp.mean(waves, axis=1, keepdims=True))
    rest = N_FRAMES - energies.shape[1]
    lowest = jnp.min(energies, axis=(1, 2), keepdims=True)
    filling = jnp.broadcast_to(lowest, (energies.shape[0], rest, energies.shape[2]))
    return (jnp.concatenate([energies, filling], axis=1) - MEAN) / (2 * STD)
