import numpy as np
import pytest
import soundfile

from j2o_examples_birdjepa import AudioError, read_audio
from j2o_examples_birdjepa._audio import duration

RATE = 32_000
SECONDS = np.arange(2 * RATE) / RATE
TONE = (0.4 * np.sin(2 * np.pi * 1000 * SECONDS)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05), ("mp3", 0.05)])
def test_formats(tmp_path, suffix, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, TONE, RATE)
    wave = read_audio(path)
    assert wave.dtype == np.float32
    assert abs(duration(path) - 2) < 0.1
    assert len(wave) >= 60_000
    # Lossy formats may shift a tone by a few samples: its pitch and its strength stay.
    spectrum = np.abs(np.fft.rfft(wave[5000:53_000] * np.hanning(48_000)))
    assert np.argmax(spectrum) == 1500
    np.testing.assert_allclose(spectrum[1500] / 12_000, 0.4, atol=tolerance)


def test_other_rates_are_resampled(tmp_path):
    seconds = np.arange(2 * 44_100) / 44_100
    soundfile.write(tmp_path / "tone.wav", 0.4 * np.sin(2 * np.pi * 1000 * seconds), 44_100, subtype="FLOAT")
    wave = read_audio(tmp_path / "tone.wav")
    assert len(wave) == 2 * RATE
    np.testing.assert_allclose(wave[5000:-5000], TONE[5000:-5000], atol=1e-3)


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "two.wav", np.stack([TONE, -0.5 * TONE], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "two.wav"), 0.25 * TONE, atol=1e-7)


def test_a_part(tmp_path):
    soundfile.write(tmp_path / "tone.flac", TONE, RATE)
    whole = read_audio(tmp_path / "tone.flac")
    part = read_audio(tmp_path / "tone.flac", start=0.5, seconds=1)
    np.testing.assert_array_equal(part, whole[RATE // 2 : RATE // 2 + RATE])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_what_is_no_sound(tmp_path, suffix):
    path = tmp_path / f"noise.{suffix}"
    path.write_bytes(b"this is not sound " * 50)
    with pytest.raises(AudioError, match=r"noise\.\w+ cannot be read as sound"):
        read_audio(path)
    with pytest.raises(AudioError, match=r"noise\.\w+ cannot be read as sound"):
        duration(path)


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_files_that_end_early(tmp_path, suffix):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.random.default_rng(0).standard_normal(2 * RATE) / 10, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="tone"):
        read_audio(path)


def test_empty_files_and_numbers_that_are_not_finite(tmp_path):
    with pytest.raises(AudioError, match="cannot be read as sound"):
        read_audio(tmp_path / "nowhere.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite"):
        read_audio(tmp_path / "nan.wav")
