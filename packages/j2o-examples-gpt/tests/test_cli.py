import re
import subprocess
import sys

import onnxruntime
import pytest

from j2o_examples_gpt._cli import main


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    output = tmp_path / "gpt.onnx"
    assert main(["tiny", "--prompt", "5", "--tokens", "6", "--batch", "2", "-o", str(output)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"tiny, opset 24: \d+ nodes, 2 of them Attention", text)
    assert re.search(r"prompt of 5 tokens +[\d.]+ ms +[\d.]+ ms\n", text)
    assert re.search(r"tokens/s +[\d.]+ +[\d.]+\n", text)
    assert "the same 6 tokens" in text
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["B", "T"]


def test_tokens_that_differ_are_a_failure(tmp_path, capsys, monkeypatch):
    from j2o_examples_gpt import _generate

    read = _generate.Decoder.read
    monkeypatch.setattr(_generate.Decoder, "read", lambda self, *arguments: -read(self, *arguments))
    assert main(["--prompt", "5", "--tokens", "2", "-o", str(tmp_path / "gpt.onnx")]) == 1
    assert "the tokens differ from number 1 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt5"], "invalid choice: 'gpt5'"),
        (["--prompt", "60"], "tiny has 64 positions, 60 + 32 asked"),
        (["--tokens", "0"], "'0' is not a number from 1 up"),
        (["--opset", "3"], "opset is 3"),
        (["-o", "{tmp}/nowhere/gpt.onnx"], "nowhere"),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, message):
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    try:
        status = main([*filled, *([] if "-o" in filled else ["-o", str(tmp_path / "gpt.onnx")])])
    except SystemExit as stop:  # the parser's own
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "j2o_examples_gpt._cli", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "--prompt" in done.stdout
