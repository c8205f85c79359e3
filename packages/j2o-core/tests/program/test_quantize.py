"""Products in 8 bits."""

import logging

import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import OnnxProgram, RunError, SpecError

RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.standard_normal(shape).astype(np.float32) for shape in ((16, 32), (32, 8)))
X = RNG.standard_normal((64, 16)).astype(np.float32)


def two_layers(x):
    return jnp.maximum(x @ FIRST, 0) @ SECOND


def cosine(a, b):
    return float(np.min(np.sum(a * b, -1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)))


def count(program, *kinds):
    return sum(node.op_type in kinds for node in program.model.graph)


@pytest.fixture(params=[18, 21, 23])
def program(export, request):
    return export(two_layers, [("B", 16)], opset=request.param)


def test_ranges_of_each_run(program):
    before = program.model.graph.initializers.keys()
    small = program.quantize()
    assert count(small, "MatMulInteger") == 2
    assert cosine(small(X), two_layers(X)) > 0.999
    small.check()
    assert program.model.graph.initializers.keys() == before
    assert count(program, "MatMul") == 2


def test_ranges_of_examples(program):
    small = program.quantize([(X[:8],), (X[8:],)])
    assert count(small, "QuantizeLinear") >= 1
    assert cosine(small(X), two_layers(X)) > 0.999
    small.check()


def test_products_that_stay(program):
    (name,) = [node.name for node in program.model.graph if node.op_type == "MatMul"][:1]
    small = program.quantize(keep=[name])
    assert (count(small, "MatMul"), count(small, "MatMulInteger")) == (1, 1)


def test_products_of_activations_stay(export):
    small = export(lambda x: (x @ FIRST) @ (x @ FIRST).T, [("B", 16)]).quantize()
    assert (count(small, "MatMul"), count(small, "MatMulInteger")) == (1, 1)


def test_a_saved_file_is_smaller_and_right(export, tmp_path):
    program = export(two_layers, [("B", 16)])
    program.save(tmp_path / "floats.onnx")
    program.quantize().save(tmp_path / "bytes.onnx")
    assert (tmp_path / "bytes.onnx").stat().st_size < (tmp_path / "floats.onnx").stat().st_size


def test_a_saved_file_is_loaded_and_saved_to_the_same_bytes(program, tmp_path):
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    small = program.quantize()
    small.save(first)
    loaded = OnnxProgram.load(first)
    np.testing.assert_array_equal(loaded(X), small(X))
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": ["blocks.*"]}, r"keep has 'blocks\.\*', which fits no product"),
        ({"keep": "fc2"}, r"Expected a list of patterns, such as keep=\[\"fc2\"\]"),
        ({"examples": []}, "There are no examples"),
        ({"examples": [(X[:, :3],)]}, "The argument 'x' is float32"),
    ],
)
def test_what_cannot_be_used_is_named(export, arguments, message):
    with pytest.raises(SpecError, match=message):
        export(two_layers, [("B", 16)]).quantize(**arguments)


def test_an_error_of_the_quantizer_is_ours(export, monkeypatch):
    from onnxruntime import quantization

    def broken(*_, **__):
        raise AssertionError("no")

    monkeypatch.setattr(quantization, "quantize_dynamic", broken)
    with pytest.raises(RunError, match="The quantizer of ONNX Runtime fails: AssertionError: no"):
        export(two_layers, [("B", 16)]).quantize()


def test_no_logger_gets_a_handler(export):
    before = list(logging.getLogger().handlers)
    export(two_layers, [("B", 16)]).quantize([(X,)])
    assert logging.getLogger().handlers == before
