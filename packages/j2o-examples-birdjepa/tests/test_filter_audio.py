import itertools

import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, filter_audio
from j2o_examples_birdjepa._filter_audio import band_edges, istft, stft

NOISE = np.random.default_rng(0).standard_normal(160_000).astype(np.float32)


def patches(*active):
    mask = np.zeros((32, 8), bool)
    for row, column in active:
        mask[row, column] = True
    return mask.reshape(-1)


def test_times_are_segments_in_order():
    kept = filter_audio(NOISE, patches((7, 3), (2, 0), (7, 1), (31, 0)), "time")
    expected = [NOISE[2 * 5120 : 3 * 5120], NOISE[7 * 5120 : 8 * 5120], NOISE[31 * 5120 :]]
    np.testing.assert_array_equal(kept, np.concatenate(expected))
    assert len(kept) == 2 * 5120 + 1280


@pytest.mark.parametrize("mode", ["time", "time+freq"])
def test_nothing_is_left_of_nothing(mode):
    assert filter_audio(NOISE, patches(), mode).shape == (0,)


def test_short_clips_are_filled_up():
    kept = filter_audio(NOISE[:100], patches((0, 0)), "time")
    np.testing.assert_array_equal(kept[:100], NOISE[:100])
    np.testing.assert_array_equal(kept[100:], 0)


def test_transform_and_inverse():
    spectrum = stft(NOISE)
    assert spectrum.shape == (513, 501)
    np.testing.assert_allclose(istft(spectrum), NOISE, atol=1e-6)


def test_bands():
    edges = [20, 366.6, 880.1, 1640.7, 2767.6, 4436.9, 6909.8, 10573.1, 16000]
    np.testing.assert_allclose(band_edges(), edges, atol=0.06)
    frequencies = np.linspace(0, 16_000, 513)[:-1]
    counts = [np.sum((frequencies >= lo) & (frequencies < hi)) for lo, hi in itertools.pairwise(edges)]
    assert counts == [11, 17, 24, 36, 53, 80, 117, 173]


def test_frequencies_outside_are_removed():
    seconds = np.arange(160_000) / 32_000
    low, high = np.sin(2 * np.pi * 1200 * seconds), np.sin(2 * np.pi * 8000 * seconds)  # bands 2 and 6
    whole = [(row, 2) for row in range(32)]
    kept = filter_audio(low + high, patches(*whole))
    inside = slice(2000, 150_000)
    np.testing.assert_allclose(kept[inside], low[inside], atol=2e-3)
    kept = filter_audio(low + high, patches(*whole, *[(row, 6) for row in range(32)]))
    np.testing.assert_allclose(kept[inside], (low + high)[inside], atol=2e-3)


def test_only_the_patch_itself():
    """A patch keeps its band at its own time; the time of another patch keeps that one's band."""
    seconds = np.arange(160_000) / 32_000
    low, high = np.sin(2 * np.pi * 1200 * seconds), np.sin(2 * np.pi * 8000 * seconds)
    kept = filter_audio(low + high, patches((4, 2), (9, 6)))
    assert len(kept) == 2 * 5120
    middle = slice(1000, 4000)
    np.testing.assert_allclose(kept[:5120][middle], low[4 * 5120 : 5 * 5120][middle], atol=0.02)
    np.testing.assert_allclose(kept[5120:][middle], high[9 * 5120 : 10 * 5120][middle], atol=0.02)


def test_misuse_is_an_error():
    with pytest.raises(ConfigError, match=r"patches must be \[256\] booleans, but they are \(10,\) float64"):
        filter_audio(NOISE, np.zeros(10))
    with pytest.raises(ConfigError, match="not 'freq'"):
        filter_audio(NOISE, patches(), "freq")
