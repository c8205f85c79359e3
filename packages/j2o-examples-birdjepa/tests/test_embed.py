"""Embedding an archive: every clip once, corrupt files named, continued where it stopped, the same by Ray."""

import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from j2o_examples_birdjepa import BirdMae, BirdMaeConfig, DataError, embed, export, read_audio
from j2o_examples_birdjepa._embed import Embedder, find_recordings
from j2o_examples_birdjepa._transform import fit

RATE = 32_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mae.onnx"
    config = BirdMaeConfig(embed_dim=16, depth=1, n_heads=2, patch_h=64, patch_w=64)
    program = export(BirdMae(config, key=jax.random.key(0)))
    program.save(path)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    (folder / "deep").mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in (("a.wav", 12), ("b.flac", 5), ("deep/c.ogg", 1), ("deep/d.WAV", 6)):
        sound = (0.1 * rng.standard_normal(seconds * RATE)).astype(np.float32)
        soundfile.write(folder / name, sound, RATE, format=name[-3:].upper().replace("LAC", "FLAC"))
    (folder / "broken.mp3").write_bytes(b"nothing to hear")
    (folder / "notes.txt").write_text("not a recording")
    return folder


def test_every_clip_once(model, archive, tmp_path):
    seen = []
    found = embed(model, archive, tmp_path / "out.parquet", per_part=2, batch=3, progress=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert found.clips == 3 + 1 + 1 + 2
    assert list(found.corrupt) == ["broken.mp3"]
    table = pq.read_table(found.output)
    files, starts = table["file"].to_pylist(), table["start"].to_pylist()
    assert list(zip(files, starts, strict=True)) == [
        ("a.wav", 0),
        ("a.wav", 5),
        ("a.wav", 10),
        ("b.flac", 0),
        ("deep/c.ogg", 0),
        ("deep/d.WAV", 0),
        ("deep/d.WAV", 5),
    ]
    embeddings = np.array(table["embedding"].to_pylist(), np.float32)
    session = Embedder(model)._session
    for row in (1, 4):
        wave = fit(read_audio(archive / files[row], start=starts[row], seconds=5))
        expected = session.run(["embedding"], {"waveform": wave[None]})[0][0]
        np.testing.assert_allclose(embeddings[row], expected, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet"]


def test_it_continues_where_it_stopped(model, archive, tmp_path, monkeypatch):
    output = tmp_path / "out.parquet"
    done = []
    part = Embedder.part

    def stops(self, folder, files, path):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(files)
        part(self, folder, files, path)

    monkeypatch.setattr(Embedder, "part", stops)
    with pytest.raises(KeyboardInterrupt):
        embed(model, archive, output, per_part=2)
    assert not output.exists()
    continued = []
    monkeypatch.setattr(
        Embedder, "part", lambda self, folder, files, path: (continued.append(files), part(self, folder, files, path))
    )
    found = embed(model, archive, output, per_part=2)
    assert done + continued == [["a.wav", "b.flac"], ["broken.mp3", "deep/c.ogg"], ["deep/d.WAV"]]
    monkeypatch.undo()
    whole = embed(model, archive, tmp_path / "whole.parquet", per_part=2)
    assert pq.read_table(output).equals(pq.read_table(whole.output))
    assert found.corrupt == whole.corrupt


def test_parts_of_another_task_are_not_mixed_in(model, archive, tmp_path):
    parts = tmp_path / "out.parquet.parts"
    parts.mkdir()
    (parts / "task.txt").write_text("of another model")
    with pytest.raises(DataError, match="holds parts of another model or of other recordings"):
        embed(model, archive, tmp_path / "out.parquet")


def test_nothing_to_embed(model, archive, tmp_path):
    with pytest.raises(DataError, match="holds no recordings"):
        embed(model, tmp_path, tmp_path / "out.parquet")
    (tmp_path / "x.wav").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no recording can be read, 1 are corrupt"):
        embed(model, tmp_path, tmp_path / "out.parquet")
    with pytest.raises(DataError, match="the engine must be 'local' or 'ray', not 'spark'"):
        embed(model, archive, tmp_path / "out.parquet", engine="spark")


def test_other_models_are_refused(tmp_path):
    config = BirdMaeConfig(embed_dim=16, depth=1, n_heads=2, input_h=64, input_w=64, patch_h=32, patch_w=32)
    export(BirdMae(config, key=jax.random.key(0)), start="spectrogram").save(tmp_path / "m.onnx")
    with pytest.raises(DataError, match="it must read a waveform and embed it"):
        Embedder(tmp_path / "m.onnx")


def test_suffixes_of_any_case(archive):
    assert find_recordings(archive) == ["a.wav", "b.flac", "broken.mp3", "deep/c.ogg", "deep/d.WAV"]
    assert json.dumps(find_recordings(archive))
