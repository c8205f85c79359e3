import inspect
import subprocess
import sys

import pytest

import j2o_core
from j2o_core import testing

NAMES = [
    "CheckError",
    "Composite",
    "J2oError",
    "LegalizeError",
    "LoweringContext",
    "LoweringError",
    "OnnxProgram",
    "Plugin",
    "PluginError",
    "Profile",
    "Registry",
    "RewriteError",
    "Rewriter",
    "RunError",
    "SaveError",
    "SpecError",
    "TraceError",
    "UnsupportedError",
    "Verification",
    "VerifyError",
    "function",
    "read_safetensors",
    "to_onnx",
    "traits",
]


def test_the_public_names_are_these():
    assert j2o_core.__all__ == NAMES
    assert set(NAMES) <= set(dir(j2o_core))
    for name in NAMES:
        value = getattr(j2o_core, name)
        assert inspect.getdoc(value), name


@pytest.mark.slow
def test_every_name_loads_by_itself():
    code = "import j2o_core, sys; getattr(j2o_core, sys.argv[1])"
    for name in ("Plugin", "SaveError", "Rewriter", "Verification"):
        subprocess.run([sys.executable, "-c", code, name], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'j2o_core' has no attribute 'to_torch'"):
        j2o_core.to_torch  # noqa: B018


def test_the_arguments_of_to_onnx_are_a_promise():
    parameters = inspect.signature(j2o_core.to_onnx).parameters
    assert list(parameters)[:2] == ["fn", "inputs"]
    keywords = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert keywords == {
        "opset": 21,
        "input_names": None,
        "output_names": None,
        "state": (),
        "constraints": (),
        "target": "onnxruntime",
        "nonfinite": None,
        "weights": "fold",
        "dtype": None,
        "unroll": "auto",
        "functions": (),
        "metadata": "relative",
        "plugins": None,
        "progress": None,
    }


def test_the_testing_kit():
    kit = {"check", "Spec", "DTYPES", "expect_graph", "graph_text", "construct_and_call", "Construction"}
    assert kit <= set(vars(testing))


def test_public_methods_have_docstrings():
    for kind in (j2o_core.OnnxProgram, j2o_core.Plugin, j2o_core.LoweringContext, j2o_core.Rewriter):
        for name, member in inspect.getmembers(kind, inspect.isfunction):
            assert name.startswith("_") or inspect.getdoc(member), f"{kind.__name__}.{name}"
