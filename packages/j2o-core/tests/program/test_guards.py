"""Conditions under which reading, writing and comparing programs stop or pass over something."""

import json
import os
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from jax import lax

from j2o_core import CheckError, RunError, SaveError, SpecError, VerifyError
from j2o_core.program import _save, _session, _verify
from j2o_core.program._attention_inputs import Case, _not_finite, attention_cases
from j2o_core.program._divergence import _magnitude
from j2o_core.program._external_data import _problem, check_external_data
from j2o_core.program._file_lock import open_locked
from j2o_core.program._loop_bodies import steps
from j2o_core.program._random_inputs import check_kinds, check_sizes
from j2o_core.program._read_weights import _one_file
from j2o_core.program._session import Session

X = np.ones((2, 3), np.float32)


def attention():
    """A model with an attention of which every operand is an input."""
    text = """<ir_version: 11, opset_import: ["" : 23]> g (float[1,1,2,4] q, float[1,1,3,4] k, float[1,1,3,4] v,
    bool[2,3] m) => (y) { y = Attention (q, k, v, m) }"""
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def operands(kind=np.asarray):
    shapes = [((1, 1, 2, 4), np.float32), ((1, 1, 3, 4), np.float32), ((1, 1, 3, 4), np.float32), ((2, 3), bool)]
    return [kind(np.ones(shape, dtype)) for shape, dtype in shapes]


def test_arguments_of_attention_are_changed():
    changed = {case.text.rpartition(" in ")[2] for case in attention_cases(attention(), operands())}
    assert changed == {"'k'", "'m'"}


@pytest.mark.parametrize(
    "leaves", [operands(jnp.asarray), [np.zeros((0, 1), leaf.dtype) for leaf in operands()]], ids=["not NumPy", "empty"]
)
def test_arguments_of_attention_that_are_not_changed(leaves):
    assert list(attention_cases(attention(), leaves)) == []


def test_integers_have_no_nan():
    assert list(_not_finite(np.ones(2, np.int8))) == []
    assert len(list(_not_finite(np.ones(2, ml_dtypes.bfloat16)))) == 4


@pytest.mark.parametrize(
    ("array", "magnitude"),
    [
        (np.array([-3, 2], np.int32), 0),
        (np.array([-3, 2], ml_dtypes.int4), 0),
        (np.array([True]), 0),
        (np.array([-3, np.inf], ml_dtypes.bfloat16), 3),
    ],
)
def test_the_magnitude_of_floats(array, magnitude):
    assert _magnitude(array) == magnitude


@pytest.mark.parametrize(
    ("offset", "length", "size", "problem"),
    [
        (0, 8, None, "there is no such file"),
        (-8, 8, 16, "no file begins before"),
        (0, 4, 16, "takes 4 bytes"),
        (12, 8, 16, "ends after 16 bytes"),
        (8, None, 16, None),
    ],
)
def test_where_external_data_lie(offset, length, size, problem):
    tensor = types.SimpleNamespace(offset=offset, length=length, nbytes=8)
    assert problem in (_problem(tensor, size) or "") if problem else _problem(tensor, size) is None


def test_external_data_that_are_not_there(tmp_path):
    tensor = ir.ExternalTensor("weights", 0, 8, ir.DataType.FLOAT, shape=ir.Shape([2]), name="w", base_dir=tmp_path)
    weight = ir.Value(name="w", const_value=tensor, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    node = ir.node("Neg", [weight])
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": 21}, name="g")
    with pytest.raises(CheckError, match="there is no such file"):
        check_external_data(ir.Model(graph, ir_version=10))


def test_a_device_is_no_file_to_lock():
    with pytest.raises(OSError, match="another name"):
        open_locked("/dev/null", "r+b")


def test_a_loop_ends_with_its_condition():
    (eqn,) = jax.make_jaxpr(lambda i: lax.while_loop(lambda i: i < 2, lambda i: i + 1, i))(0).eqns
    assert len(list(steps(eqn, [np.int32(0)]))) == 5  # conditions of the steps 0 to 2, bodies of the first two


@pytest.mark.parametrize("sizes", [3, [], [1, -1], [1.5], "12"])
def test_sizes_are_integers(sizes):
    with pytest.raises(SpecError, match="sizes is"):
        check_sizes(sizes)


@pytest.mark.parametrize("kinds", [3, [], {"normal"}, "normal", ["odd"]])
def test_kinds_of_inputs_are_named(kinds):
    with pytest.raises(SpecError, match="kinds is"):
        check_kinds(kinds)


def safetensors(path, header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)


def entry(shape, first, last):
    return {"x": {"dtype": "F32", "shape": shape, "data_offsets": [first, last]}}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([1], "it is no table"),
        (entry([-1, -2], 0, 8), "its size is not that of its shape"),
        (entry([2], 0, 4), "its size is not that of its shape"),
        (entry([1], -4, 0), "its size is not that of its shape"),
        (entry([4], 0, 16), "it ends at byte"),
    ],
)
def test_damaged_files_of_weights(tmp_path, header, message):
    safetensors(tmp_path / "weights", header, bytes(8))
    with pytest.raises(SpecError, match=message):
        _one_file(str(tmp_path / "weights"))


def test_a_header_that_is_longer_than_the_file(tmp_path):
    (tmp_path / "weights").write_bytes((100).to_bytes(8, "little") + b"{}")
    with pytest.raises(SpecError, match="it has 100 bytes, the file has 10"):
        _one_file(str(tmp_path / "weights"))


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(SpecError, match="it is not a file"):
        _one_file(str(tmp_path))


def test_a_pipe_is_not_replaced(export, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SaveError, match="a device or a pipe"):
        export(jnp.sin, [(3,)]).save(tmp_path / "pipe")


def test_a_path_without_null_characters(export, tmp_path):
    with pytest.raises(SaveError, match="null character"):
        export(jnp.sin, [(3,)]).save(f"{tmp_path}/a\0b")


def test_an_error_of_writing_keeps_its_words(export, tmp_path, monkeypatch):
    def fails(*_):
        raise SaveError("It is too large.")

    monkeypatch.setattr(_save, "_write_and_move", fails)
    with pytest.raises(SaveError, match=r"^It is too large\.\nSee"):
        export(jnp.sin, [(3,)]).save(tmp_path / "model.onnx")


def test_an_error_of_running_keeps_its_words(export, monkeypatch):
    def fails(*_, **__):
        raise RunError("No runtime.")

    monkeypatch.setattr(_session, "write_model", fails)
    with pytest.raises(RunError, match=r"^No runtime\.\nSee"):
        Session(export(jnp.sin, [(3,)]).model)


def test_weights_without_bytes_stay_in_the_model():
    weight = ir.Value(name="w", const_value=ir.Tensor(np.zeros((0, 3), np.float32)))
    weight.meta["j2o_name"] = "w"
    assert _save._stays_inside(weight)


def test_folders_are_synchronised_where_files_are_posix(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(_save.os, "open", lambda path, *_: opened.append(path) or os.dup(0))
    _save._sync_folder(str(tmp_path))
    monkeypatch.setattr(_save.os, "name", "nt")
    _save._sync_folder(str(tmp_path))
    monkeypatch.undo()
    assert opened == [str(tmp_path)]


@pytest.mark.parametrize(
    ("finite", "alike", "raises"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_what_attention_does_with_hidden_keys(monkeypatch, finite, alike, raises):
    """NaN in hidden keys may spread where an operator is known to; what is finite has to agree, in JAX's orders too."""
    case = Case("-inf in 'm'", [X], finite)
    monkeypatch.setattr(_verify, "differences", lambda model: [("NaN spreads", "line 1")])
    monkeypatch.setattr(_verify, "attention_cases", lambda model, leaves: [case])
    monkeypatch.setattr(_verify, "_compared", lambda sides, want, *_: ("" if want == "other order" else "differs", []))
    reference = type(
        "Reference", (), {"__call__": lambda *_: [X], "one_by_one": lambda *_: "same" if not alike else "other order"}
    )()
    sides = types.SimpleNamespace(
        model=None, reference=reference, session=types.SimpleNamespace(run=lambda _: [X]), diagnose=lambda _: ""
    )
    if raises:
        with pytest.raises(VerifyError, match="differs with -inf in 'm'"):
            _verify._attention_notes(sides, [X], None, None)
    else:
        assert _verify._attention_notes(sides, [X], None, None) == ["NaN spreads (line 1)"]
