"""Recordings as waveforms: WAV, FLAC, OGG and MP3, at any sample rate and with any number of channels."""

import os

import numpy as np
import soundfile
import soxr

from ._errors import AudioError
from ._transform import SAMPLE_RATE


def duration(path: str | os.PathLike[str]) -> float:
    """The length of a recording in seconds, as its header has it.

    Raises:
        AudioError: If the file cannot be read as sound.
    """
    try:
        info = soundfile.info(os.fspath(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{os.fspath(path)} cannot be read as sound: {error}") from error
    return float(info.frames / info.samplerate)


def read_audio(
    path: str | os.PathLike[str], *, sample_rate: int = SAMPLE_RATE, start: float = 0.0, seconds: float | None = None
) -> np.ndarray:
    """Decode a recording, or a part of it.

    Args:
        path: The file.
        sample_rate: Samples a second of the result; the recording is resampled where its own differ.
        start: Where to begin, in seconds.
        seconds: How much to read; by default everything.

    Returns:
        `[samples]` float32, the mean of the channels.

    Raises:
        AudioError: If the file cannot be read as sound, holds no samples there, or holds numbers that are not finite.
    """
    name = os.fspath(path)
    try:
        with soundfile.SoundFile(name) as file:
            rate = file.samplerate
            first = min(round(start * rate), file.frames)
            expected = file.frames - first
            if seconds is not None:
                expected = min(expected, round(seconds * rate))
            file.seek(first)
            wave = file.read(expected, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{name} cannot be read as sound: {error}") from error
    # The length in the header of an MP3 may be an estimate.
    if len(wave) < 0.9 * expected:
        raise AudioError(f"{name} ends early: {expected} samples were to come behind {start:g} s, {len(wave)} did.")
    if not wave.size:
        raise AudioError(f"{name} holds no samples behind {start:g} s.")
    mono = wave.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioError(f"{name} holds samples that are not finite numbers.")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return np.ascontiguousarray(mono, np.float32)
