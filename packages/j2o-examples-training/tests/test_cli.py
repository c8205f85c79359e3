import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from j2o_examples_training._cli import main

FAST = ["mlp", "--steps", "9", "--batch", "8"]


@pytest.mark.slow
def test_a_training_with_its_picture(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert main([*FAST, "-o", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "mlp, 9 steps on batches of 8, opset 21" in text
    rows = [line.split() for line in text.splitlines() if line[:1].isdigit() or line.startswith("largest")]
    assert [row[0] for row in rows] == ["1", "2", "4", "6", "9", "largest"]
    assert all(float(row[-1]) <= 1e-3 for row in rows)
    assert "unseen digits recognised" in text
    files = ["accuracy.onnx", "loss.png", "start.npz", "step.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert all(f"wrote {folder / name}" in text for name in files)
    with Image.open(folder / "loss.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    # Both curves are there: the broad blue one, and the red marks of the differences below.
    blue, red = pixels[..., 2] - pixels[..., 0] > 40, pixels[..., 0] - pixels[..., 2] > 100
    assert blue.sum() > 500
    assert red.sum() > 20


def test_without_a_picture(tmp_path, capsys):
    assert main([*FAST, "-o", str(tmp_path), "--no-picture", "--opset", "18", "--seed", "4"]) == 0
    assert "opset 18" in capsys.readouterr().out
    assert not (tmp_path / "loss.png").exists()


def test_without_matplotlib_the_message_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*FAST, "-o", str(tmp_path / "out")]) == 2
    assert 'pip install "j2o-examples-training[picture]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_losses_that_differ_are_a_failure(tmp_path, capsys, monkeypatch):
    from j2o_examples_training import _experiment

    original = _experiment.train
    monkeypatch.setattr(_experiment, "train", lambda *arguments: original(*arguments) * 1.01)
    assert main([*FAST, "-o", str(tmp_path), "--no-picture"]) == 1
    assert "the losses differ by up to 1.0e-02" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnn"], "invalid choice: 'rnn'"),
        (["--steps", "0"], "'0' is not a number from 1 up"),
        (["--batch", "x"], "'x' is not a number from 1 up"),
        (["--learning-rate", "2"], "'2' is not a number between 0 and 1"),
        (["mlp", "--opset", "3"], "opset is 3"),
        (["-o", "{tmp}/file"], "cannot make the folder"),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("text")
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    try:
        status = main([*filled, *([] if "-o" in filled else ["-o", str(tmp_path / "out")])])
    except SystemExit as stop:  # the parser's own
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert message in captured.err
    assert captured.out == ""


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "j2o_examples_training._cli", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )
    assert done.returncode == 0
    assert "--learning-rate" in done.stdout
