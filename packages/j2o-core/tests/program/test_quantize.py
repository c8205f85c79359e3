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


def test_the_largest_bytes_do_not_saturate(export):
    """Two products of 255 and 127 are more than 16 bits, in which some CPUs add them."""
    small = export(lambda x: x @ np.ones((64, 8), np.float32), [("B", 64)]).quantize()
    np.testing.assert_allclose(small(np.ones((4, 64), np.float32)), 64, rtol=1e-5)


@pytest.mark.parametrize(("options", "largest"), [({}, 64), ({"weight_bits": 7}, 64), ({"weight_bits": 8}, 127)])
@pytest.mark.parametrize("ranges", ["run", "examples"])
def test_bits_of_weights(export, ranges, options, largest):
    small = export(two_layers, [("B", 16)]).quantize([(X,)], ranges=ranges, **options)
    weights = [value.const_value for value in small.model.graph.initializers.values() if len(value.shape) == 2]
    assert [abs(weight.numpy().astype(int)).max() for weight in weights] == [largest] * 2


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


# Columns of activations that differ by a hundred, as behind the norms of transformers.
UNEVEN = np.where(np.arange(16) % 8 == 0, 100, 1).astype(np.float32)


def uneven_columns(x):
    return (x * UNEVEN) @ (FIRST / UNEVEN[:, None])


def one_activation_twice(x):
    return (x * UNEVEN) @ (FIRST / UNEVEN[:, None]) * ((x * UNEVEN) @ (FIRST / UNEVEN[:, None]) + 10)


@pytest.mark.parametrize("ranges", ["run", "examples"])
@pytest.mark.parametrize("function", [uneven_columns, one_activation_twice])
def test_columns_of_activations_are_made_even(export, function, ranges):
    program = export(function, [("B", 16)])
    plain, small = program.quantize(), program.quantize([(X[:32],)], ranges=ranges)
    assert cosine(plain(X[32:]), function(X[32:])) < 0.999
    # With fixed ranges, results become bytes, too.
    assert cosine(small(X[32:]), function(X[32:])) > (0.999 if ranges == "run" else 0.998)
    assert count(small, "Mul") == count(program, "Mul") + 1 + (ranges == "run") * 2 * count(program, "MatMul")
    small.check()


def test_columns_that_no_example_uses_are_no_reason_to_divide_by_zero(export):
    small = export(two_layers, [("B", 16)]).quantize([(np.zeros_like(X),)], ranges="run", cosine=0.9)
    assert cosine(small(X), two_layers(X)) > 0.999
    half = np.where(np.arange(16) < 8, X, 0)
    small = export(two_layers, [("B", 16)]).quantize([(half,)], ranges="run", weight_bits=8)
    # The range is that of columns which no example uses.
    assert cosine(small(X), two_layers(X)) > 0.85


def test_a_weight_that_is_read_twice_stays_as_it_is(export):
    small = export(lambda x: (x + UNEVEN) @ FIRST + x @ FIRST, [("B", 16)]).quantize([(X,)], ranges="run")
    assert cosine(small(X), (X + UNEVEN) @ FIRST + X @ FIRST) > 0.99
    assert not [name for name in small.model.graph.initializers if "balance" in name]


def two_inputs(x, y):
    return x @ FIRST + y @ (FIRST**2)


@pytest.mark.parametrize("ranges", ["run", "examples"])
def test_an_accuracy_keeps_the_product_that_loses_more(export, ranges):
    """One range is too coarse for rows of y, of which one is a thousand times larger."""
    program = export(two_inputs, [("B", 16), ("B", 16)])
    y = np.where(np.arange(64)[:, None] == 0, 1000 * X, X)
    expected = two_inputs(X, y)
    assert cosine(program.quantize([(X, y)], ranges=ranges)(X, y), expected) < 0.9
    small = program.quantize([(X, y)], ranges=ranges, cosine=0.999)
    assert cosine(small(X, y), expected) >= 0.999
    floats = [node for node in small.model.graph if node.op_type == "MatMul" and node.inputs[1].const_value is not None]
    assert [node.inputs[0].name for node in floats] == ["y/balanced"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranges": "none"}, "ranges is 'none'"),
        ({"weight_bits": 4}, r"weight_bits is 4\. Expected 7 \(right on every CPU\) or 8"),
        ({"cosine": 0.99}, "cosine is measured on examples"),
        ({"examples": [(X,)], "cosine": 99}, "cosine is 99"),
        ({"keep": ["blocks.*"]}, r"keep has 'blocks\.\*', which fits no product"),
        ({"keep": "fc2"}, r"Expected a list of patterns, such as keep=\[\"fc2\"\]"),
        ({"examples": []}, "There are no examples"),
        ({"examples": [(X[:, :3],)]}, "The argument 'x' is float32"),
    ],
)
def test_what_cannot_be_used_is_named(export, arguments, message):
    with pytest.raises(SpecError, match=message):
        export(two_layers, [("B", 16)]).quantize(**arguments)


@pytest.mark.parametrize("examples", [np.ones((2, 4), np.float32), [np.ones((2, 4), np.float32)]])
def test_an_example_is_a_tuple_of_arguments(program, examples):
    with pytest.raises(SpecError, match=r"examples holds a ndarray\. Expected a tuple .*examples=\[\(x,\), \(y,\)\]"):
        program.quantize(examples)


def test_an_accuracy_needs_results_of_floats(export):
    program = export(lambda x: (x @ FIRST) > 0, [("B", 16)])
    with pytest.raises(SpecError, match="cosine is of arrays of floats, and the program gives none"):
        program.quantize([(X,)], ranges="run", cosine=0.99)


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
