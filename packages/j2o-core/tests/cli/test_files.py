"""Commands that write files: quantized programs, and pages and results that are whole or not there."""

import contextlib
import json
import os
import shutil
import subprocess
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SaveError, to_onnx
from j2o_core.cli import __main__ as _cli
from j2o_core.cli import _files

RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.standard_normal(shape).astype(np.float32) for shape in ((16, 32), (32, 8)))
X = RNG.standard_normal((64, 16)).astype(np.float32)
EXAMPLES = ["--example", "0.npz", "--example", "1.npz"]


def two_layers(x):
    return jnp.maximum(x @ FIRST, 0) @ SECOND


@pytest.fixture
def j2o(capsys, tmp_path, monkeypatch, plugin):
    """Runs a command in a folder with a program; what it prints."""
    monkeypatch.chdir(tmp_path)
    to_onnx(two_layers, [("B", 16)], plugins=[plugin]).save("m.onnx")

    def run(*arguments, status=0):
        assert _cli.main(arguments) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return run


@pytest.mark.parametrize("options", [[], EXAMPLES, [*EXAMPLES, "--ranges", "run", "--cosine", "0.999"]])
def test_quantize_writes_a_smaller_file_that_agrees(j2o, options):
    for number in range(2):
        np.savez(f"{number}.npz", x=X[32 * number : 32 * number + 32])
    shown = json.loads(j2o("quantize", "m.onnx", "-o", "m8.onnx", *options, "--json"))
    assert shown["files"].keys() == {"m8.onnx"}
    assert shown["weights"]["after"] < shown["weights"]["before"]
    np.savez("x.npz", x=X)
    for name in ("m", "m8"):
        j2o("run", f"{name}.onnx", "--input", "x.npz", "-o", f"{name}.npz")
    wide, narrow = (next(iter(np.load(f"{name}.npz").values())) for name in ("m", "m8"))
    assert not np.array_equal(wide, narrow)
    cosines = np.sum(wide * narrow, -1) / np.linalg.norm(wide, axis=-1) / np.linalg.norm(narrow, axis=-1)
    assert cosines.min() > 0.999


def test_what_cannot_be_quantized_is_said(j2o):
    np.savez("y.npz", y=X)
    assert "the program has no input 'y'" in j2o("quantize", "m.onnx", "-o", "m8.onnx", "--example", "y.npz", status=2)
    assert "fits no product" in j2o("quantize", "m.onnx", "-o", "m8.onnx", "--keep", "blocks.*", status=2)
    assert not os.path.exists("m8.onnx")


@pytest.mark.parametrize(
    "command", [["report", "m.onnx", "-o", "r.html"], ["run", "m.onnx", "--input", "x.npz", "-o", "r.npz"]]
)
def test_what_cannot_be_written_leaves_the_old_file(j2o, command, monkeypatch):
    np.savez("x.npz", x=X)
    target = command[-1]
    j2o(*command)
    with open(target, "rb") as file:
        assert len(file.read()) > 100
    with open(target, "wb") as file:
        file.write(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert f"Cannot save to {os.path.abspath(target)}: No space left on device" in j2o(*command, status=2)
    with open(target, "rb") as file:
        assert file.read() == b"old"
    assert sorted(os.listdir()) == sorted(["m.onnx", "x.npz", target])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_devices_are_written_to():
    with pytest.raises(SaveError, match="Cannot save to /dev/full: No space left on device"):
        _files.write_whole("/dev/full", lambda file: file.write(b"text"))
    _files.write_whole("/dev/null", lambda file: file.write(b"text"))
    assert not os.path.isfile("/dev/null")


def completed(script, *words):
    """The words that bash offers for the last one of a line."""
    line = " ".join(f"'{word}'" for word in words)
    code = f'{script}\nCOMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n_j2o\necho "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(os.name != "posix", reason="needs bash")
def test_bash_offers_commands_options_and_choices(j2o):
    script = j2o("completion", "bash")
    assert len(completed(script, "j2o", "")) == len(_cli._EXAMPLES)
    assert completed(script, "j2o", "export", "m:f", "--unroll", "a") == ["auto", "always"]
    assert completed(script, "j2o", "completion", "")[:3] == ["bash", "zsh", "fish"]
    assert completed(script, "j2o", "report", "m.on") == []  # the shell completes names of files itself


def tabbed(shell, before, line):
    """The line that a shell on a terminal has made of `line` and the tabulator."""
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    process = subprocess.Popen(shell, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    # Control-A and Control-E put the line between the words of a command that writes it.
    os.write(ours, f"{before}\n{line}\t\x01echo \x05 > line\nexit\n".encode())
    timer = threading.Timer(20, process.kill)
    timer.start()
    with contextlib.suppress(OSError):  # the terminal is gone with the shell
        while os.read(ours, 1 << 16):
            pass
    os.close(ours)
    process.wait()
    timer.cancel()
    with open("line") as file:
        return file.read().split()


@pytest.mark.parametrize("shell", [("bash", "--norc", "-i"), ("zsh", "-f", "-i")], ids=["bash", "zsh"])
@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("j2o quan", "j2o quantize"),
        ("j2o export m:f --keep", "j2o export m:f --keep-weights"),
        ("j2o export m:f --unroll ne", "j2o export m:f --unroll never"),
        ("j2o completion f", "j2o completion fish"),
        ("j2o report m.on", "j2o report m.onnx"),
    ],
)
def test_the_tabulator_completes(j2o, shell, line, whole):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    with open("script", "w") as file:
        file.write(j2o("completion", shell[0]))
    before = "bindkey -e; ZDOTDIR=$PWD; " if shell[0] == "zsh" else ""  # where it may write
    assert tabbed(shell, f"{before}. ./script", line) == whole.split()


def test_fish_completes(j2o):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")

    def offered(line):
        code = f"{script}\ncomplete -C '{line}'"
        shown = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True).stdout
        return [one.partition("\t")[0] for one in shown.splitlines()]

    script = j2o("completion", "fish")
    assert offered("j2o ") == sorted(_cli._EXAMPLES)
    assert offered("j2o export m:f --keep") == ["--keep-weights"]
    assert offered("j2o export m:f --unroll a") == ["always", "auto"]
    assert offered("j2o completion ") == ["bash", "fish", "zsh"]
    assert offered("j2o report m.on") == ["m.onnx"]
    assert offered("j2o run m.onnx --input ") == ["m.onnx"]


def test_fish_has_each_option_with_its_help(j2o):
    lines = j2o("completion", "fish").splitlines()
    assert (
        "complete -c j2o -n '__fish_seen_subcommand_from diff' -l size -r -d 'every symbolic size there (default: 8)'"
        in lines
    )
    assert (
        "complete -c j2o -n '__fish_seen_subcommand_from export' -l unroll -f -a 'auto always never' -r -d"
        in "\n".join(lines)
    )
    assert all(line.count("'") % 2 == line.count("\\'") % 2 for line in lines)
    assert json.loads(j2o("completion", "fish", "--json"))["completion"]["fish"].splitlines() == lines
