"""The command, from drawn songs to a trained encoder, a graph, embeddings and probes."""

import subprocess
import sys

import pytest
import soundfile

from j2o_examples_birdjepa._cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    assert main(["make-data", str(folder), "--per-class", "3"]) == 0
    return folder


@pytest.mark.slow
def test_from_songs_to_embeddings(data, tmp_path, capsys):
    run, graph, table = tmp_path / "run", tmp_path / "model.onnx", tmp_path / "out.parquet"
    sizes = ["--dim", "16", "--depth", "1", "--heads", "2", "--patch", "64", "64", "--batch", "8"]
    held = ["--split", "train", "--held-out", "test", "--eval-every", "2", "--augment", "time_mask", "--tensorboard"]
    assert main(["train", str(data), "-o", str(run), "--steps", "2", *sizes, *held]) == 0
    assert "acc" in capsys.readouterr().out
    assert list((run / "tensorboard").iterdir())
    assert main(["train", str(data), "-o", str(run), "--steps", "3", *sizes, *held]) == 2
    assert "optimizer.n_steps is 2 there and 3 here" in capsys.readouterr().err
    assert main(["export", str(run), "-o", str(graph)]) == 0
    assert "waveform to embedding, tokens, opset 23" in capsys.readouterr().out
    (data / "songs" / "broken.flac").write_bytes(b"nothing")
    assert main(["embed", str(graph), str(data), "-o", str(table)]) == 0
    assert "1 recordings could not be read" in capsys.readouterr().out
    assert main(["probe", str(run), str(data), "--epochs", "2", "--per-class", "1"]) == 0
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in ("linear", "mlp", "centroid"))


def test_filter(data, tmp_path, capsys):
    song = next((data / "songs").glob("*.flac"))
    output = tmp_path / "kept.wav"
    assert main(["filter", str(song), "-o", str(output), "--loudest", "8"]) == 0
    assert "of 8 patches" in capsys.readouterr().out
    assert 1280 <= soundfile.info(output).frames <= 8 * 5120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{data}", "-o", "{tmp}/run", "--augment", "reverse"], "there is no augmentation 'reverse'"),
        (["train", "{tmp}", "-o", "{tmp}/run"], "holds no index of recordings"),
        (["export", "{tmp}", "-o", "{tmp}/x.onnx"], "neither a checkpoint nor a run with one"),
        (
            ["export", "base", "-o", "{tmp}/x.onnx", "--weights", "{tmp}/none.safetensors"],
            "none.safetensors does not exist",
        ),
        (["filter", "{data}/index.csv", "-o", "{tmp}/x.wav"], "index.csv cannot be read as sound"),
        (["train", "{data}", "-o", "{tmp}/run", "--steps", "0"], "'0' is not a number from 1 up"),
    ],
)
def test_what_cannot_be_done(arguments, message, data, tmp_path, capsys):
    arguments = [argument.format(data=data, tmp=tmp_path) for argument in arguments]
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_help_does_not_wait_for_jax():
    code = """
import sys
from j2o_examples_birdjepa._cli import main
try:
    main(["train", "--help"])
finally:
    print("jax" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--objective" in done.stdout
    assert done.stdout.endswith("False\n")
