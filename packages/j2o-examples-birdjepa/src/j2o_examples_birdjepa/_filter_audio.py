"""Only those parts of a clip that chosen patches of its spectrogram cover: to listen to what a model looks at."""

from typing import Literal

import numpy as np

from ._config import require
from ._fbank import hertz, mel
from ._transform import CLIP_SAMPLES, SAMPLE_RATE, fit

_ROWS, _COLUMNS = 32, 8
_FFT, _WINDOW, _HOP = 1024, 800, 320
_FRAMES = 16  # of a patch
_SEGMENT = _FRAMES * _HOP


def filter_audio(wave: np.ndarray, patches: np.ndarray, mode: Literal["time", "time+freq"] = "time+freq") -> np.ndarray:
    """Cut out of a clip what the active patches cover.

    Args:
        wave: `[samples]` at 32 kHz; it is cut or filled up to five seconds.
        patches: `[256]` booleans, row-major: patch i covers the time i // 8 and the mel band i % 8.
        mode: `"time"` keeps all frequencies of each time that an active patch has; `"time+freq"` first removes what
            lies outside the active patches by a short-time Fourier transform.

    Returns:
        `[kept]` float32, the segments one after another: 5,120 samples a time, 1,280 for the last; none if no patch
        is active.

    Raises:
        ConfigError: If the patches are not 256 booleans, or the mode is unknown.
    """
    patches = np.asarray(patches)
    require(
        patches.shape == (_ROWS * _COLUMNS,) and patches.dtype == bool,
        f"filter_audio: patches must be [256] booleans, but they are {patches.shape} {patches.dtype}.",
    )
    require(mode in ("time", "time+freq"), f"filter_audio: the mode must be 'time' or 'time+freq', not {mode!r}.")
    active = patches.reshape(_ROWS, _COLUMNS)
    clip = fit(wave)
    if mode == "time+freq":
        clip = istft(np.where(_frame_mask(active), stft(clip), 0))
    segments = [clip[_SEGMENT * row : _SEGMENT * (row + 1)] for row in np.flatnonzero(active.any(axis=1))]
    return np.concatenate([np.zeros(0, np.float32), *segments]).astype(np.float32)


def band_edges() -> np.ndarray:
    """Edges in Hz of the eight mel bands of patches, `[9]` float64, from 20 to 16,000."""
    return hertz(np.linspace(mel(20), mel(SAMPLE_RATE / 2), _COLUMNS + 1))


def _frame_mask(active: np.ndarray) -> np.ndarray:
    """Which bins of which frames the active patches `[32, 8]` cover: `[513, 501]`.

    The highest bin is in no band: whether it lies below the last edge would depend on rounding.
    """
    frequencies = np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    edges = band_edges()
    band_of_bin = (frequencies >= edges[:-1, None]) & (frequencies < edges[1:, None])
    band_of_bin[:, -1] = False
    n_frames = 1 + CLIP_SAMPLES // _HOP
    bins = (active[:, :, None] & band_of_bin).any(axis=1)  # [32, 513]
    return np.repeat(bins, _FRAMES, axis=0)[:n_frames].T


def _window() -> np.ndarray:
    """A periodic Hann window of 800 in the middle of 1,024."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    rest = (_FFT - _WINDOW) // 2
    return np.pad(hann, (rest, rest))


def stft(clip: np.ndarray) -> np.ndarray:
    """The centred short-time Fourier transform `[513, 1 + samples // 320]`, the ends reflected."""
    padded = np.pad(clip.astype(np.float64), _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return np.fft.rfft(frames * _window()).T


def istft(spectrum: np.ndarray) -> np.ndarray:
    """The clip `[160000]` of a centred short-time Fourier transform: overlapping frames over the sum of windows^2."""
    window = _window()
    frames = np.fft.irfft(spectrum.T, _FFT) * window
    total = np.zeros(_FFT + _HOP * (len(frames) - 1))
    weight = np.zeros_like(total)
    for index, frame in enumerate(frames):
        place = slice(index * _HOP, index * _HOP + _FFT)
        total[place] += frame
        weight[place] += window**2
    kept = slice(_FFT // 2, _FFT // 2 + CLIP_SAMPLES)
    return total[kept] / weight[kept]
