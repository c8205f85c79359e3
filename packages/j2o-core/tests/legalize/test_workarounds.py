"""The table of workarounds: each row's witness is wrong as it stands, in the releases it names, and right legalized."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from j2o_core import LegalizeError
from j2o_core.legalize.workarounds import REPLACEMENTS
from j2o_core.target import WORKAROUNDS, Target
from j2o_core.testing._legalized import legalize_model

INSTALLED = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
RELEASE = f"onnxruntime-{INSTALLED[0]}.{INSTALLED[1]}"
IR_VERSIONS = {18: 10, 20: 10, 21: 10, 23: 11, 24: 12}


def model_of(witness) -> ir.Model:
    """The witness as a model whose values have element types and shapes."""
    header = f'<ir_version: {IR_VERSIONS[witness.opset]}, opset_import: ["" : {witness.opset}]>'
    proto = onnx.parser.parse_model(header + witness.graph)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def outcome(witness, model: ir.Model) -> str:
    """The outcome in the runtime: "right", "wrong" or "fails"."""
    feeds = {
        x.name: np.array(feed).astype(x.dtype.numpy()).reshape([int(size) for size in x.shape])
        for x, feed in zip(model.graph.inputs, witness.feeds, strict=True)
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data = ir.to_proto(model).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (got,) = session.run(None, feeds)
    except Exception:  # the runtime raises a dozen classes of its own  # noqa: BLE001
        return "fails"
    shape = tuple(int(size) for size in model.graph.outputs[0].shape)
    expected = np.array(witness.expected).astype(got.dtype).reshape(shape)
    right = got.shape == shape and np.allclose(got, expected, rtol=witness.rtol, atol=0, equal_nan=True)
    return "right" if right else "wrong"


@pytest.mark.parametrize("row", WORKAROUNDS, ids=lambda row: row.name)
def test_the_fault_is_there_in_the_releases_that_the_row_names(row):
    fault = "fails" if row.fails else "wrong"
    assert outcome(row.witness, model_of(row.witness)) == (fault if row.needed(INSTALLED) else "right")


@pytest.mark.parametrize("target", ["onnxruntime", RELEASE])
@pytest.mark.parametrize("row", WORKAROUNDS, ids=lambda row: row.name)
def test_the_workaround_is_right(row, target):
    model = model_of(row.witness)
    try:
        legalize_model(model, Target(target, row.witness.opset, exact_nonfinite=True))
    except LegalizeError:
        assert row.unusable
        return
    assert outcome(row.witness, model) == "right"


@pytest.mark.parametrize("row", [row for row in WORKAROUNDS if row.fixed], ids=lambda row: row.name)
def test_a_release_without_the_fault_needs_no_workaround(row):
    release = f"onnxruntime-{'.'.join(map(str, row.fixed))}"
    model = model_of(row.witness)
    before = [node.op_type for node in model.graph]
    legalize_model(model, Target(release, row.witness.opset))
    assert [node.op_type for node in model.graph] == before


@pytest.mark.parametrize("row", WORKAROUNDS, ids=lambda row: row.name)
def test_standard_onnx_needs_no_workaround(row):
    model = model_of(row.witness)
    before = [node.op_type for node in model.graph]
    legalize_model(model, Target(None, row.witness.opset))
    assert [node.op_type for node in model.graph] == before


def test_each_row_has_what_stands_in():
    names = [row.name for row in WORKAROUNDS]
    assert len(set(names)) == len(names)
    assert set(REPLACEMENTS) == {row.name for row in WORKAROUNDS if not row.unusable}
