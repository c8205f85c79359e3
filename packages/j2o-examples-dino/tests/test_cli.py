import os
import re
import subprocess
import sys

import jax
import numpy as np
import onnxruntime
import pytest
import skimage.data
from PIL import Image

from j2o_examples_dino import create, preprocess, save
from j2o_examples_dino._cli import main
from j2o_examples_dino._features import ModelChoice

# One block's worth of image: the command is what is tested here, on the smallest published model.
FAST = ["--variant", "vits16", "--size", "32", "--rounds", "0"]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def _numbers(text, name):
    return [float(number) for line in text.splitlines() if name in line for number in re.findall(r"[\d.]+e-\d+", line)]


@pytest.mark.slow
def test_export_on_a_photo(photo, tmp_path, capsys):
    output = tmp_path / "dino.onnx"
    assert main(["export", *FAST, "--rounds", "2", "--opset", "23", "--image", str(photo), "-o", str(output)]) == 0

    text = capsys.readouterr().out
    relative = _numbers(text, "photo: cls")[1:] + _numbers(text, "photo: patches")[1:]
    assert len(relative) == 2
    assert max(relative) <= 1e-5
    assert "MatMul" in text
    assert re.search(r"threads: default.* ms +[\d.]+ ms +[\d.]+\n", text)
    assert f"{output.stat().st_size / 1e6:.1f} MB" in text

    # The file gives what JAX gives for the photo.
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    images = np.asarray(preprocess(skimage.data.astronaut(), 32))[None]
    cls, patches = session.run(["cls", "patches"], {"images": images})
    expected = ModelChoice("vits16", None, 0).build()(images)
    np.testing.assert_allclose(cls, expected[0], rtol=0, atol=1e-5 * np.abs(expected[0]).max())
    np.testing.assert_allclose(patches, expected[1], rtol=0, atol=1e-5 * np.abs(expected[1]).max())

    # The picture shows the photo and twice the same map.
    with Image.open(tmp_path / "dino_features.png") as picture:
        pixels = np.asarray(picture)[68:-16, 16:].astype(int)
    panels = [pixels[:, i * 400 : i * 400 + 384] for i in range(3)]
    photo_again = np.asarray(Image.fromarray(panels[0].astype(np.uint8)).resize((32, 32)))
    original = np.asarray(Image.open(photo).resize((32, 32)))
    assert np.abs(photo_again.astype(int) - original).mean() < 12
    assert np.abs(panels[1] - panels[2]).max() <= 1
    assert len(np.unique(panels[1].reshape(-1, 3), axis=0)) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dino.onnx", "dino_features.png", "photo.png"]


@pytest.mark.slow
def test_symbolic_batch_without_a_photo(tmp_path, capsys):
    output = tmp_path / "dino.onnx"
    arguments = ["export", *FAST, "--opset", "21", "--batch", "B", "-o", str(output), "--picture"]
    assert main([*arguments, str(tmp_path / "seen.jpg"), "--seed", "3"]) == 0
    assert "random images B = 1, 2, 5" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    (cls,) = session.run(["cls"], {"images": images})
    expected = ModelChoice("vits16", None, 3).build()(images)[0]
    np.testing.assert_allclose(cls, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    with Image.open(tmp_path / "seen.jpg") as picture:
        assert picture.width > 1000


@pytest.mark.slow
def test_weights_of_a_checkpoint(tmp_path):
    model = create("vits16", key=jax.random.key(5))
    save(tmp_path / "weights.safetensors", model)
    output = tmp_path / "dino.onnx"
    assert main(["export", *FAST, "--weights", str(tmp_path / "weights.safetensors"), "-o", str(output)]) == 0
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    (cls,) = session.run(["cls"], {"images": images})
    expected = np.asarray(model(images[0]))
    np.testing.assert_allclose(cls[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _fails(capsys, folder, arguments, message, *, code=2):
    """The command says one thing that is wrong, and leaves everything as it was."""

    def contents():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = contents()
    try:
        status = main(["export", *FAST, *arguments])
    except SystemExit as stop:  # the parser's own
        status = stop.code
    captured = capsys.readouterr()
    assert status == code
    assert captured.out == ""
    assert re.search(message, captured.err), captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("error:") == 1
    assert contents() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "{tmp}/gone.png"], r"gone\.png cannot be read: No such file"),
        (["--image", "{tmp}/text.png"], r"text\.png is not a picture"),
        (["--weights", "{tmp}/gone.pth"], r"gone\.pth does not exist"),
        (["--weights", "{tmp}/text.pth"], r"text\.pth is not a zip archive"),
        (["--weights", "{tmp}/other.safetensors"], r"other\.safetensors does not fit[\s\S]*1 unknown: x"),
        (["-o", "{tmp}/nowhere/dino.onnx"], "nowhere does not exist"),
        (["-o", "{tmp}"], "is a folder"),
        (["--picture", "{tmp}/nowhere/x.png"], "nowhere does not exist"),
        (["--picture", "{tmp}/x.onnxes"], "does not end as pictures do"),
        (["--picture", "{tmp}/dino.onnx"], "cannot both be"),
        (["--image", "{tmp}/photo.png", "--picture", "{tmp}/photo.png"], "is to be read"),
        (["--weights", "{tmp}/other.safetensors", "-o", "{tmp}/other.safetensors"], "is to be read"),
        (["--size", "30"], "multiple of the patch size 16, but it is 30"),
        (["--size", "0"], "multiple of the patch size"),
        (["--size", "-16"], "argument --size"),
        (["--batch", "0"], "neither a number of images nor a name"),
        (["--batch", "2*B"], "neither a number of images nor a name"),
        (["--rounds", "x"], "not a number from 0 up"),
        (["--variant", "vitx"], "invalid choice: 'vitx'"),
        (["--opset", "3"], "opset"),
        (["--opset", "99"], "opset"),
    ],
)
def test_bad_arguments(tmp_path, photo, capsys, arguments, message):
    import safetensors.numpy

    for name in ("text.png", "text.pth"):
        (tmp_path / name).write_text("text")
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, tmp_path / "other.safetensors")
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    output = [] if "-o" in filled else ["-o", str(tmp_path / "dino.onnx")]
    _fails(capsys, tmp_path, [*output, *filled], message)


def test_output_is_required(tmp_path, capsys):
    _fails(capsys, tmp_path, [], "required: -o/--output")


@pytest.mark.slow
def test_failure_to_save_leaves_the_old_files(tmp_path, capsys, monkeypatch):
    from j2o_core import OnnxProgram, SaveError

    def fail(self, path):
        raise SaveError(f"Cannot save to {path}: the disk is full.")

    monkeypatch.setattr(OnnxProgram, "save", fail)
    (tmp_path / "dino.onnx").write_text("old graph")
    (tmp_path / "dino_features.png").write_text("old picture")
    _fails(capsys, tmp_path, ["-o", str(tmp_path / "dino.onnx")], "the disk is full")


@pytest.mark.slow
def test_disagreement_writes_nothing(tmp_path, capsys, monkeypatch):
    from j2o_core import OnnxProgram, VerifyError

    def fail(self, *arguments):
        raise VerifyError("Output 'cls' differs from JAX by up to 1.")

    monkeypatch.setattr(OnnxProgram, "verify", fail)
    _fails(capsys, tmp_path, ["-o", str(tmp_path / "dino.onnx")], "differs from JAX", code=1)


def test_folder_that_must_not_be_written_to(tmp_path, capsys, monkeypatch):
    # Root, who runs tests in a container, may write anywhere, so a real locked folder would not do.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    _fails(capsys, tmp_path, ["-o", str(tmp_path / "dino.onnx")], "permission denied")


def test_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--help"])
    text = capsys.readouterr().out
    for option in ("--variant", "--opset", "--image", "--weights", "--size", "--batch", "--picture", "--seed"):
        assert option in text


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "j2o_examples_dino._cli", "export"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "required: -o/--output" in done.stderr
