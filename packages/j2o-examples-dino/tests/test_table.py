from collections import Counter
from pathlib import Path

import pytest

from j2o_examples_dino._demonstration import Outcome, Parity, Request
from j2o_examples_dino._features import ModelChoice
from j2o_examples_dino._latency import Latency
from j2o_examples_dino._table import table


def _request(**changes):
    fields = {
        "model": ModelChoice("vits16", None, 7),
        "opset": 23,
        "output": Path("dino.onnx"),
        "picture": Path("dino.png"),
        "image": None,
        "size": 224,
        "batch": 1,
        "rounds": 15,
    }
    return Request(**fields | changes)


@pytest.fixture
def outcome():
    return Outcome(
        photo=[Parity("cls", 1.5e-6, 2.5e-7), Parity("patches", 3e-6, 5e-7)],
        random=[Parity("cls", 1e-6, 1e-7)],
        operators=Counter({"MatMul": 48, "Add": 48, "Gelu": 12}),
        single_thread=Latency(0.080, 0.120, 1),
        all_threads="it failed",
        file_bytes=86_500_000,
        build_seconds=1.25,
        export_seconds=2.5,
        verify_seconds=3.75,
    )


def test_everything_is_there(outcome):
    lines = table(_request(), outcome).splitlines()
    assert lines[0] == "DINOv3 vits16 (random weights, seed 7)"
    assert lines[1] == "images 1 x 3 x 224 x 224, opset 23"
    for expected in (
        ["photo:", "patches", "3.00e-06", "5.00e-07"],
        ["random", "images:", "cls", "1.00e-06", "1.00e-07"],
        ["one", "thread", "80.0", "ms", "120.0", "ms", "1.50"],
        ["threads:", "default", "-", "-", "-"],
        ["not", "measured:", "it", "failed"],
        ["file", "size", "86.5", "MB"],
        ["time", "to", "export", "2.50", "s"],
        ["nodes", "108"],
        ["Gelu", "12"],
        ["graph", "dino.onnx"],
        ["picture", "dino.png"],
    ):
        assert expected in [line.split() for line in lines]
    names = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in outcome.operators]
    assert names == ["Add", "MatMul", "Gelu"]


def test_columns_are_aligned(outcome):
    lines = table(_request(), outcome).splitlines()
    head = next(line for line in lines if line.startswith("ONNX Runtime against JAX"))
    rows = [line for line in lines if line.startswith(("  photo:", "  random images:"))]
    assert {len(line) for line in rows} == {len(head)}


def test_symbolic_batch_and_no_latency(outcome):
    text = table(_request(batch="B", rounds=0), outcome)
    assert "images B (any) x 3 x 224 x 224" in text
    assert "random images B = 1, 2, 5: cls" in text
    assert "median" not in text
