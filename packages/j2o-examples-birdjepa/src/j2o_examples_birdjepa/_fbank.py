"""Log-mel filter bank energies as Kaldi defines them, in NumPy.

It computes what `torchaudio.compliance.kaldi.fbank` does with a symmetric Hann window and everything else at its
default. Loaders run this form: JAX in a worker process would claim the accelerator. `front_end` is the JAX form.
"""

import dataclasses
import functools

import numpy as np

from ._config import require

EPSILON = float(np.finfo(np.float32).eps)
"""The smallest energy whose logarithm is taken."""


@dataclasses.dataclass(frozen=True)
class FbankConfig:
    """Parameters of the filter bank; the defaults are those of Bird-MAE.

    Attributes:
        sample_rate: Samples a second.
        n_mels: Number of filters.
        frame_length: Length of a frame in seconds.
        frame_shift: Distance between frames in seconds.
        preemphasis: How much of the sample before is subtracted from each.
        low: Lower edge of the first filter in Hz.
        high: Upper edge of the last filter in Hz; 0 stands for half the sample rate.
    """

    sample_rate: int = 32_000
    n_mels: int = 128
    frame_length: float = 0.025
    frame_shift: float = 0.010
    preemphasis: float = 0.97
    low: float = 20.0
    high: float = 0.0

    def __post_init__(self) -> None:
        require(self.n_mels >= 1, f"FbankConfig.n_mels must be at least 1, but it is {self.n_mels}.")
        require(
            self.window_size >= 2 and self.shift >= 1,
            f"FbankConfig: frames of {self.frame_length} s every {self.frame_shift} s are too short at "
            f"{self.sample_rate} samples/s.",
        )
        require(
            0 <= self.low < self.upper_edge <= self.sample_rate / 2,
            f"FbankConfig: filters from {self.low} to {self.upper_edge} Hz do not fit below {self.sample_rate / 2} Hz.",
        )

    @property
    def window_size(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate * self.frame_length)

    @property
    def shift(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_rate * self.frame_shift)

    @property
    def fft_size(self) -> int:
        """Length of the Fourier transform: the power of two that holds a frame."""
        return 1 << (self.window_size - 1).bit_length()

    @property
    def upper_edge(self) -> float:
        """Upper edge of the last filter in Hz."""
        return self.high if self.high > 0 else self.sample_rate / 2 + self.high

    def n_frames(self, samples: int) -> int:
        """Whole frames in a number of samples."""
        return 0 if samples < self.window_size else 1 + (samples - self.window_size) // self.shift


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz to mel."""
    mels: np.ndarray = 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)
    return mels


def hertz(mels: np.ndarray | float) -> np.ndarray:
    """Frequency in mel to Hz."""
    return 700.0 * np.expm1(np.asarray(mels, np.float64) / 1127.0)


@functools.cache
def hann(size: int) -> np.ndarray:
    """The symmetric Hann window `[size]` float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))


@functools.cache
def mel_filters(config: FbankConfig) -> np.ndarray:
    """The filters `[fft_size / 2, n_mels]` float64: triangles in mel, not normalised; the highest bin has none."""
    edges = np.linspace(mel(config.low), mel(config.upper_edge), config.n_mels + 2)
    bins = mel(np.arange(config.fft_size // 2) * (config.sample_rate / config.fft_size))[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    triangles: np.ndarray = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return np.asarray(np.maximum(0, triangles))


_DEFAULT = FbankConfig()
# So many frames stay in the cache of a core: a clip as a whole takes twice as long.
_FRAMES_AT_ONCE = 64


def _power(frames: np.ndarray, config: FbankConfig) -> np.ndarray:
    """Power spectra `[..., frames, fft_size / 2]` of frames `[..., frames, window_size]`, without the highest bin."""
    frames = frames - frames.mean(axis=-1, keepdims=True)
    emphasised = frames.copy()
    emphasised[..., 1:] -= config.preemphasis * frames[..., :-1]
    emphasised[..., 0] *= 1 - config.preemphasis
    emphasised *= hann(config.window_size)
    spectrum = np.fft.rfft(emphasised, config.fft_size)[..., :-1]
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def fbank(
    wave: np.ndarray,
    config: FbankConfig = _DEFAULT,
    *,
    dither: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Log-mel energies of each whole frame.

    Args:
        wave: `[..., samples]`.
        config: Parameters of the filter bank.
        dither: Standard deviation of noise that is added to the samples of each frame.
        rng: Where that noise comes from; needed if there is any.

    Returns:
        `[..., frames, n_mels]` float32, at least log(2^-23) = -15.94; arithmetic is float64.

    Raises:
        ConfigError: If there is less than a frame, or dither without a generator.
    """
    wave = np.asarray(wave, np.float64)
    samples = wave.shape[-1] if wave.ndim else 0
    require(config.n_frames(samples) > 0, f"fbank: {samples} samples are less than a frame of {config.window_size}.")
    frames = np.lib.stride_tricks.sliding_window_view(wave, config.window_size, axis=-1)[..., :: config.shift, :]
    if dither:
        if rng is None:
            require(False, "fbank: dither needs a generator of random numbers, `rng`.")
        else:
            frames = frames + dither * rng.standard_normal(frames.shape)
    power = np.empty((*frames.shape[:-1], config.fft_size // 2))
    for start in range(0, frames.shape[-2], _FRAMES_AT_ONCE):
        part = slice(start, start + _FRAMES_AT_ONCE)
        power[..., part, :] = _power(frames[..., part, :], config)
    energies: np.ndarray = np.log(np.maximum(power @ mel_filters(config), EPSILON))
    return energies.astype(np.float32)
