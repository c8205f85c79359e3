import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import CheckError, VerifyError
from j2o_core import _session as session_module

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


def test_wrong_arguments_are_the_runtime_s_error(export):
    program = export(jnp.sin, [("B", 3)])
    with pytest.raises(VerifyError, match="ONNX Runtime failed"):
        program(np.zeros((2, 4), np.float32))
    with pytest.raises(VerifyError, match="ONNX Runtime failed"):
        program(np.zeros((2, 3), np.float64))


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
    with pytest.raises(VerifyError, match=r'pip install "j2o-core\[onnxruntime\]"'):
        program.verify()


def test_a_large_model_is_run_from_files(export, monkeypatch):
    """The way above 1.5 GB, with the limit lowered."""
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((3, 400)), jnp.float32)
    program = export(lambda x: x @ weight, [("B", 3)])
    monkeypatch.setattr(session_module, "EMBED_LIMIT_BYTES", 100)
    monkeypatch.setattr("j2o_core._save.EMBED_LIMIT_BYTES", 100)
    program.verify()


def test_an_invalid_model_is_told_by_the_checker(export):
    program = export(jnp.sin, [(3,)])
    program.check()
    (node,) = program.model.graph
    node.op_type = "NoSuchOperator"
    with pytest.raises(CheckError, match=r"The model is not valid ONNX: .*NoSuchOperator"):
        program.check()
    with pytest.raises(VerifyError, match=r"ONNX Runtime [\d.]+ refuses the model"):
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
        "j2o report",
        f"jax          {jax.__version__}",
        "onnxruntime  ",
        "plugin       fake",
        "test_program.py:",
        "opset          23, IR version 11",
        "input          pixels: float[B, 3]",
        "output         output: float[B, 3]",
        "nodes          2",
        "1 Sin",
        "sin",
    ):
        assert part in text, part


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
    assert stages == ["discover", "trace", "simplify", "lower", "rewrite", "finish", "legalize"]
