import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import CheckError, RunError, SpecError
from j2o_core.program import _session as session_module

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def test_a_program_is_called_like_its_function(export):
    def fn(batch, scale):
        return {"sum": batch["x"] + batch["y"], "scaled": [batch["x"] * scale]}

    program = export(fn, [{"x": (2, 3), "y": (2, 3)}, ()])
    result = program({"y": X * 2, "x": X}, np.float32(3))
    np.testing.assert_array_equal(result["sum"], X * 3)
    np.testing.assert_array_equal(result["scaled"][0], X * 3)
    assert program.input_names == ["batch.x", "batch.y", "scale"]
    assert program.output_names == ["scaled.0", "sum"]
    assert program.opset == 21


def test_keywords(export):
    program = export(lambda x, *, y: x - y, {"x": (2, 3), "y": (2, 3)})
    np.testing.assert_array_equal(program(y=X, x=X * 2), X)


def test_jax_arrays_are_arguments_too(export):
    program = export(jnp.sin, [("B", 3)])
    np.testing.assert_allclose(program(jnp.asarray(X)), np.sin(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.zeros((2, 4), np.float32), 1.0), r"'x' is float32\[2, 4\], the program takes float32\[B, 3\]"),
        ((np.zeros(3, np.float32), 1.0), r"'x' is float32\[3\], the program takes float32\[B, 3\]"),
        ((np.zeros((2, 3), np.complex64), 1.0), r"'x' is complex64\[2, 3\], .* takes float32\[B, 3\].*convert it"),
        ((np.full((2, 3), 2**24 + 1), 1.0), r"'x' is int64\[2, 3\] with numbers that float32 does not have"),
        (("a cat", 1.0), "'x' is the text 'a cat'"),
        ((np.ma.masked_array(X, X > 0), 1.0), r"'x' is a masked array.*x\.filled"),
        ((X, 1j), r"'scale' is the number 1j, the program takes float32\[\]"),
        ((X,), r"The call lacks 'scale'\.\nThe program takes x: float32\[B, 3\], scale: float32\[\]"),
        ((X, {"scale": 1.0}), "The call lacks 'scale' and has 'scale.scale', which the program does not take"),
    ],
)
def test_arguments_that_do_not_fit_are_named(export, args, message):
    program = export(lambda x, scale: x * scale, [("B", 3), ()])
    with pytest.raises(SpecError, match=message):
        program(*args)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f(X.astype(np.float64), np.float64(2)),
        lambda f: f(X, 2),
        lambda f: f(X, scale=2.0),
        lambda f: f(scale=np.float32(2), x=X),
    ],
)
def test_a_call_takes_what_the_jitted_function_takes(export, call):
    def scaled(x, scale):
        return x * scale

    for inputs in ([("B", 3), ()], {"x": ("B", 3), "scale": ()}):
        program = export(scaled, inputs)
        np.testing.assert_array_equal(call(program), call(jax.jit(scaled)))


def test_numbers_that_an_input_cannot_hold(export):
    program = export(lambda x: x + 1, [jax.ShapeDtypeStruct((), np.int8)])
    assert program(3) == 4
    for number in (300, 1.5):
        with pytest.raises(SpecError, match="the program takes int8"):
            program(number)


def test_a_call_takes_integers_for_floats_and_defaults(export):
    program = export(lambda x, scale=2.0: x * scale, [("B", 3), ()])
    np.testing.assert_array_equal(program(np.arange(6).reshape(2, 3)), [[0, 2, 4], [6, 8, 10]])
    np.testing.assert_array_equal(program(scale=jnp.int32(3), x=jnp.ones((1, 3), jnp.int32)), [[3, 3, 3]])


def test_sizes_of_one_name_are_equal(export):
    program = export(lambda x, y: x + y.sum(0), [("B", "2*T"), ("B", "2*T")])
    with pytest.raises(SpecError, match=r"'y' is float32\[3, 4\].*: B is 6 in the arguments before, and 3 here"):
        program(np.ones((6, 4), np.float32), np.ones((3, 4), np.float32))
    with pytest.raises(SpecError, match=r"2\*T is 4 where B = 3, T = 2, and 6 here"):
        program(np.ones((3, 4), np.float32), np.ones((3, 6), np.float32))
    with pytest.raises(SpecError, match=r"'x' is float32\[6, 3\], the program takes float32\[B, 2\*T\]: 3 is not 2\*T"):
        program(np.ones((6, 3), np.float32), np.ones((6, 3), np.float32))
    with pytest.raises(SpecError, match="B is 6"):
        program.verify(np.ones((6, 4), np.float32), np.ones((3, 4), np.float32))


def test_sizes_that_break_a_constraint(export):
    program = export(lambda x: x + 1, [("T",)], constraints=["T >= 3"])
    assert program(np.ones(3, np.float32)).shape == (3,)
    with pytest.raises(SpecError, match=r"exported with the constraint 'T >= 3', and here T = 2"):
        program(np.ones(2, np.float32))


def test_the_session_refuses_sizes_that_differ_under_one_name(export):
    """The runtime would broadcast one of them."""
    program = export(lambda x, y: x + y, [("B", 4), ("B", 4)])
    arrays = [np.ones((rows, 4), np.float32) for rows in (6, 1)]
    with pytest.raises(RunError, match=r"The input 'y' has size 1 where the model has B, which is 6 in 'x'\."):
        program.session.run(arrays)
    with pytest.raises(SpecError, match="B is 6 in the arguments before"):
        program(*arrays)
    assert program.session.run([arrays[0]] * 2)[0].shape == (6, 4)


def test_the_session_is_made_once(export):
    program = export(jnp.sin, [(3,)])
    assert program.session is program.session


def test_without_the_runtime_the_message_says_what_to_install(export, monkeypatch):
    import builtins

    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    program = export(jnp.sin, [(3,)])
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(RunError, match=r'pip install "j2o-core\[onnxruntime\]"'):
        program.verify()


def test_a_large_model_is_run_from_files(export, monkeypatch):
    """The way above 1.5 GB, with the limit lowered."""
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((3, 400)), jnp.float32)
    program = export(lambda x: x @ weight, [("B", 3)])
    monkeypatch.setattr(session_module, "EMBED_LIMIT_BYTES", 100)
    monkeypatch.setattr("j2o_core.program._save.EMBED_LIMIT_BYTES", 100)
    program.verify()


def test_an_invalid_model_is_told_by_the_checker(export):
    program = export(jnp.sin, [(3,)])
    program.check()
    (node,) = program.model.graph
    node.op_type = "NoSuchOperator"
    with pytest.raises(CheckError, match=r"The model is not valid ONNX: .*NoSuchOperator"):
        program.check()
    with pytest.raises(RunError, match=r"ONNX Runtime [\d.]+ refuses the model"):
        program.verify()


def test_a_wrong_shape_is_told_by_the_checker(export):
    program = export(jnp.sin, [(3,)])
    program.model.graph.outputs[0].shape = ir.Shape([4])
    with pytest.raises(CheckError):
        program.check()


def test_the_report_says_what_a_bug_needs(export):
    program = export(lambda pixels: jnp.sin(pixels) + 1, [("B", 3)], opset=23)
    text = program.report()
    for part in (
        f"jax            {jax.__version__}",
        "onnxruntime    ",
        "plugin         fake",
        "test_program.py:",
        "opset          23, IR version 11",
        "target         onnxruntime 1.31 to 1.32",
        "input          pixels: float32[B, 3]",
        "output         output: float32[B, 3]",
        "nodes          2",
        "1 Sin",
    ):
        assert part in text, part
    assert "jaxpr" not in text
    assert "{ lambda" in program.report(jaxpr=True)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_, ml_dtypes.bfloat16])
def test_arrays_out_of_a_pickle_are_taken(export, dtype):
    """As processes that load data send them: `isbuiltin` of their dtypes is 0."""
    array = pickle.loads(pickle.dumps(np.array([0, 1, 1]).astype(dtype)))
    program = export(lambda x: x, [array])
    assert np.array_equal(program(array), array)
    assert program.verify(array)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.int4, jnp.uint4])
def test_narrow_types_go_in_and_out(export, dtype):
    values = jnp.asarray([-1, 0, 1, 2] if dtype != jnp.uint4 else [0, 1, 2, 3], dtype)
    program = export(lambda x: x, [values], opset=23)
    result = program(values)
    assert result.dtype == dtype
    np.testing.assert_array_equal(np.asarray(result, np.float32), np.asarray(values, np.float32))


def test_progress_names_the_stages(export):
    stages = []
    export(jnp.sin, [(3,)], progress=stages.append)
    assert stages == ["discover", "trace", "simplify", "lower", "rewrite", "legalize", "finish"]


def test_a_model_whose_weights_are_too_large_for_protobuf_is_checked(export, monkeypatch):
    monkeypatch.setattr("j2o_core.program._check.EMBED_LIMIT_BYTES", 100)
    weight = np.ones((64, 32), np.float32)
    program = export(lambda x: x @ weight, [("B", 64)])
    program.check()
    next(iter(program.model.graph)).op_type = "NoSuchOperator"
    with pytest.raises(CheckError, match="NoSuchOperator"):
        program.check()
