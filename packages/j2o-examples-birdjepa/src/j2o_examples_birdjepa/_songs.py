"""Bird song that is drawn: chirps and trills in classes that differ in direction, speed and pitch, with noise."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from ._transform import SAMPLE_RATE

# Direction of the sweep, notes a second, lowest frequency in Hz.
CLASSES = {
    f"{direction}-{'trill' if rate > 5 else 'call'}-{'low' if low < 2000 else 'high'}": (sign, rate, low)
    for direction, sign in (("rising", 1), ("falling", -1))
    for rate in (3.0, 9.0)
    for low in (1200.0, 4200.0)
}
"""Parameters of the eight classes by name."""


def pink_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency, of standard deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / noise.std())


def song(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A song of a class, `[samples]` float32 at 32 kHz, with pink noise 0 to 20 dB below it."""
    sign, rate, low = CLASSES[label]
    rate, low = rate * rng.uniform(0.85, 1.15), low * rng.uniform(0.85, 1.2)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = (time * rate + rng.random()) % 1  # within a note
    width = rng.uniform(0.5, 0.8)
    within = phase / width
    rise = within if sign > 0 else 1 - within
    frequency = low * (1 + 0.6 * np.clip(rise, 0, 1))
    turns = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    envelope = np.where(within < 1, np.sin(np.pi * np.clip(within, 0, 1)) ** 2, 0)
    tone = sum(0.5**harmonic * np.sin((harmonic + 1) * turns) for harmonic in range(2 if low > 3000 else 3))
    clean = envelope * tone
    noise = pink_noise(len(time), rng) * clean.std() * 10 ** (-rng.uniform(0, 20) / 20)
    wave = clean + noise
    return np.asarray(0.7 * wave / np.abs(wave).max(), np.float32)


def make_data(folder: Path, *, per_class: int = 50, seed: int = 0, held_out: float = 0.2, choose: float = 0.0) -> int:
    """Write songs as FLAC files with an index: columns `file`, `label` and `split` (`train`, `choose` or `test`).

    Args:
        folder: Where they go.
        per_class: Songs of each class, of 2 to 8 seconds.
        seed: Equal seeds give equal files.
        held_out: Share of each class in the split `test`, which is for the last figures alone.
        choose: Share of each class in the split `choose`, on which settings are compared.

    Returns:
        How many songs were written.
    """
    (folder / "songs").mkdir(parents=True, exist_ok=True)
    rows = []
    first_test = round(per_class * (1 - held_out))
    first_choose = min(first_test, round(per_class * (1 - held_out - choose)))
    for number, label in enumerate(CLASSES):
        for copy in range(per_class):
            rng = np.random.default_rng((seed, number, copy))
            file = f"songs/{label}-{copy:03}.flac"
            soundfile.write(folder / file, song(label, rng.uniform(2, 8), rng), SAMPLE_RATE)
            split = "train" if copy < first_choose else "choose" if copy < first_test else "test"
            rows.append((file, label, split))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as index:
        writer = csv.writer(index)
        writer.writerow(("file", "label", "split"))
        writer.writerows(rows)
    return len(rows)
