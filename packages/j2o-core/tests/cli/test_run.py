"""`j2o run`: a saved program on arrays from files and the command line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.cli import __main__ as _cli

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def model(batch, scale):
    return {"y": batch["x"] * scale + jnp.sin(batch["z"]), "x": scale * 2}


@pytest.fixture
def run(export, tmp_path, monkeypatch, capsys):
    """Runs the command on a saved program; gives its status and what it printed."""
    monkeypatch.chdir(tmp_path)
    export(model, [{"x": ("B", 3), "z": ("B", 1)}, ()]).save("m.onnx")
    np.savez("batch.npz", **{"batch.x": X, "batch.z": np.zeros((2, 1))})
    np.save("x.npy", X)

    def call(*arguments):
        status = _cli.main(["run", "m.onnx", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_outputs_are_shown_and_written(run):
    status, out, err = run("--input", "batch.npz", "--input", "scale=2", "-o", "out.npz")
    assert (status, err) == (0, "")
    assert "float32[2, 3] [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]" in out
    with np.load("out.npz") as written:
        assert {name: written[name].tolist() for name in written} == {"x": 4, "y": (X * 2).tolist()}


def test_outputs_as_json(run):
    status, out, _ = run("--input", "batch.x=x.npy", "--input", "batch.z=[[0], [0]]", "--input", "scale=0.5", "--json")
    said = json.loads(out)
    assert status == 0
    assert said["outputs"]["x"] == {"dtype": "float32", "shape": [], "value": 1.0}
    assert said["outputs"]["y"]["value"] == (X / 2).tolist()
    assert said["seconds"] > 0


def test_messages_name_the_option_that_was_given(run, capsys):
    run()
    for example, said in (("none.npz", "cannot be read"), ("x.npy", "has no name"), ("y.npz", "has no input 'y'")):
        np.savez("y.npz", y=X)
        assert _cli.main(["quantize", "m.onnx", "--example", example, "-o", "q.onnx"]) == 2
        message = capsys.readouterr().err
        assert f"--example {example}" in message
        assert said in message


def test_large_outputs_are_described(run):
    np.savez("large.npz", **{"batch.x": np.ones((5, 3), np.float32), "batch.z": np.zeros((5, 1), np.float32)})
    _, out, _ = run("--input", "large.npz", "--input", "scale=3")
    assert "float32[5, 3] min 3, mean 3, max 3" in out


def test_keys_are_words(export, plugin, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plugin.encoded("random_unwrap", "key")(lambda eqn, words: words)
    export(lambda key: jax.random.key_data(key), [jax.random.key(0)]).save("k.onnx")
    assert _cli.main(["run", "k.onnx", "--input", "key=[3, 4]", "-o", "words.npy"]) == 0
    assert np.load("words.npy").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "--input is missing for\n  batch.x: float32[B, 3]\n  batch.z: float32[B, 1]\n  scale: float32[]\nExpected",
        ),
        (["--input", "w=1"], "the program has no input 'w'. It has batch.x, batch.z, scale."),
        (["--input", "scale=1", "--input", "scale=2"], "--input gives 'scale' twice"),
        (["--input", "scale=one"], "'one' is neither a file nor a number"),
        (["--input", "x.npy"], "--input x.npy has no name"),
        (["--input", "scale=batch.npz"], "holds several arrays; give it without a name"),
        (["--input", "scale=none.npy"], "none.npy cannot be read: "),
        (["--input", "batch.x=[[1], [1, 2]]", "--input", "batch.z=[[1]]", "--input", "scale=1"], "differ in length"),
        (["--input", "batch.npz", "--input", "scale=[1, 2]"], "'scale' is float32[2], the program takes float32[]"),
        (
            ["--input", "batch.npz", "--input", "scale=1", "-o", "out.npy"],
            "are written as .npz, one alone also as .npy",
        ),
        (["--input", "batch.npz", "--input", "scale=1", "-o", "none/out.npz"], "Cannot save to"),
    ],
)
def test_inputs_that_do_not_fit_are_named(run, arguments, message):
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err
