"""The front end against golden numbers, a step-by-step reference, and its exportable form against both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, FbankConfig, fbank, front_end, jax_fbank, transform
from j2o_examples_birdjepa._fbank import mel_filters

SECONDS = np.arange(160_000) / 32_000
WAVES = {
    "sine": np.sin(2 * np.pi * 440 * SECONDS),
    "chirp": 0.3 * np.sin(2 * np.pi * (1000 * SECONDS + 700 * SECONDS**2)),
    "noise": np.random.default_rng(0).standard_normal(160_000),
    "quiet": 1e-3 * np.random.default_rng(1).standard_normal(160_000),
    "silence": np.zeros(160_000),
}
BINS = np.array([0, 4, 31, 64, 127])


def reference(wave):
    """Step by step, frame by frame, with the triangles of each filter."""
    frames = []
    mels = 1127 * np.log(1 + np.arange(513) * 32_000 / 1024 / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 16_000 / 700), 130)
    for start in range(0, len(wave) - 799, 320):
        frame = wave[start : start + 800].astype(np.float64)
        frame = frame - frame.mean()
        frame[1:] -= 0.97 * frame[:-1].copy()
        frame[0] *= 0.03
        frame *= np.array([0.5 - 0.5 * np.cos(2 * np.pi * j / 799) for j in range(800)])
        power = np.abs(np.fft.rfft(np.pad(frame, (0, 224)))) ** 2
        energies = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
            weights = np.clip(np.minimum(rising, falling), 0, None)
            weights[512] = 0
            energies.append(weights @ power)
        frames.append(np.log(np.maximum(energies, np.finfo(np.float32).eps)))
    return np.array(frames)


def test_golden_sine():
    energies = fbank(WAVES["sine"].astype(np.float32) - WAVES["sine"].astype(np.float32).mean())
    assert energies.shape == (498, 128)
    golden = [-12.4543, -11.6788, -12.2309, -15.9424, -15.9424]
    # 440 Hz and a shift of 320 samples: the phase comes back every fifth frame.
    np.testing.assert_allclose(energies[::5, BINS], np.broadcast_to(golden, (100, 5)), atol=1e-2)
    np.testing.assert_allclose(energies.mean(), -13.27968, atol=1e-3)
    spectrogram = transform(WAVES["sine"])
    found = [spectrogram.mean(), spectrogram.min(), spectrogram.max()]
    np.testing.assert_allclose(found, [-0.69441, -0.98673, 1.44333], atol=1e-4)


def test_golden_chirp():
    energies = fbank(WAVES["chirp"] - WAVES["chirp"].mean())
    np.testing.assert_allclose(energies[0, BINS], [-7.6092, -15.9424, -4.4892, -15.9424, -15.9424], atol=1e-2)
    np.testing.assert_allclose(energies[250, BINS], [-14.6132] + [-15.9424] * 4, atol=1e-2)
    np.testing.assert_allclose(energies.mean(), -14.52115, atol=1e-3)
    spectrogram = transform(WAVES["chirp"])
    np.testing.assert_allclose([spectrogram.mean(), spectrogram.max()], [-0.83070, 1.87273], atol=1e-4)


def test_silence():
    np.testing.assert_allclose(transform(np.zeros(1000)), -0.98673, atol=1e-5)
    np.testing.assert_allclose(fbank(np.zeros(800)), -15.9424, atol=1e-4)


@pytest.mark.parametrize("name", WAVES)
def test_against_the_reference(name):
    wave = WAVES[name][:4000]
    difference = np.abs(fbank(wave) - reference(wave))
    assert difference.max() <= 1e-5


@pytest.mark.parametrize("name", WAVES)
def test_the_exportable_form(name):
    """A logarithm amplifies rounding where a filter is next to empty: 1e-2 for one number, 1e-4 on average."""
    wave = (WAVES[name] - WAVES[name].mean())[:48_000]
    difference = np.abs(jax.jit(jax_fbank)(jnp.asarray(wave[None], jnp.float32))[0] - fbank(wave))
    assert difference.max() <= 1e-2
    assert difference.mean() <= 1e-4


def test_front_end_is_transform_for_a_batch():
    waves = np.stack([WAVES["noise"] + 5.0, WAVES["sine"]]).astype(np.float32)
    spectrograms = jax.jit(front_end)(jnp.asarray(waves))
    assert spectrograms.shape == (2, 512, 128)
    for spectrogram, wave in zip(spectrograms, waves, strict=True):
        np.testing.assert_allclose(spectrogram, transform(wave), atol=1e-3)


def test_short_and_long_clips():
    long = np.random.default_rng(2).standard_normal(200_000).astype(np.float32)
    np.testing.assert_array_equal(transform(long), transform(long[:160_000]))
    short = long[:50_000]
    np.testing.assert_array_equal(transform(short), transform(np.pad(short, (0, 110_000))))
    assert transform(long).shape == (512, 128)


def test_frames_behind_the_clip_are_the_lowest_value():
    spectrogram = transform(WAVES["noise"])
    np.testing.assert_array_equal(spectrogram[498:], spectrogram[:498].min())


def test_the_filters():
    filters = mel_filters(FbankConfig())
    assert filters.shape == (512, 128)
    assert (filters > 0).any(axis=0).all()
    assert np.count_nonzero(filters) == 1009


def test_dither_is_reproducible():
    wave = np.zeros(1600)
    one, again = (fbank(wave, dither=1.0, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert one.min() > -15
    with pytest.raises(ConfigError, match="dither needs a generator"):
        fbank(wave, dither=1.0)


def test_impossible_parameters_are_errors():
    with pytest.raises(ConfigError, match="799 samples are less than a frame of 800"):
        fbank(np.zeros(799))
    with pytest.raises(ConfigError, match=r"do not fit below 8000\.0 Hz"):
        FbankConfig(sample_rate=16_000, high=9000)
    with pytest.raises(ConfigError, match=r"must be \[batch, 160000\]"):
        front_end(jnp.zeros((1, 1000)))
