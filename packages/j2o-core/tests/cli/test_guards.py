"""Refusals of the command before it begins."""

import os

import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import SaveError, SpecError
from j2o_core.cli._arguments import load_function, parse_specs
from j2o_core.cli._commands import _specs_of
from j2o_core.cli._files import check_folder
from j2o_core.cli._run import _write


def test_what_cannot_be_called():
    with pytest.raises(SpecError, match=r"math:pi is 3.14.*Expected a function or module"):
        load_function("math:pi")
    with pytest.raises(SpecError, match=r"--call: math:pi is 3.14"):
        load_function("math:pi", call=True)


def test_parameters_that_have_no_name_come_first():
    def fn(a, /, b, c):
        return a, b, c

    with pytest.raises(SpecError, match="parameters before c are missing"):
        parse_specs(fn, ["3", "c=3"])
    assert [spec.shape for spec in parse_specs(fn, ["3", "b=4", "c=5"])] == [(3,), (4,), (5,)]


def test_an_input_with_a_default_says_no_type():
    default = ir.Value(name="x", const_value=ir.Tensor(np.ones(3, np.float32)))
    default.shape, default.type = ir.Shape([3]), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([default], [default], nodes=[], initializers=[default], opset_imports={"": 21}, name="g")
    with pytest.raises(SpecError, match=r"type of its input 'x'"):
        _specs_of(ir.Model(graph, ir_version=10))


def test_where_a_model_may_be_written(tmp_path, monkeypatch):
    check_folder(str(tmp_path / "model.onnx"))
    with pytest.raises(SaveError, match=r"it is a folder"):
        check_folder(str(tmp_path))
    with pytest.raises(SaveError, match="does not exist"):
        check_folder(str(tmp_path / "none" / "model.onnx"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SaveError, match="Permission denied"):
        check_folder(str(tmp_path / "model.onnx"))


@pytest.mark.parametrize(("name", "count"), [("results.txt", 1), ("results.npy", 2)])
def test_outputs_are_written_as_arrays(tmp_path, name, count):
    with pytest.raises(SaveError, match=r"outputs are written as .npz"):
        _write(str(tmp_path / name), {f"y{number}": np.ones(2) for number in range(count)})
