"""The table of what runs: its answers, and that reading it costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import SpecError
from j2o_core.target import Target, opsets, target_names
from j2o_core.target import _kernels as kernels

T = ir.DataType


@pytest.mark.parametrize(
    ("op_type", "opset", "inputs", "outputs", "expected"),
    [
        ("Add", 21, [T.UINT16, T.UINT16], [T.UINT16], True),
        ("Add", 21, [T.BFLOAT16, T.BFLOAT16], [T.BFLOAT16], False),
        ("Add", 21, [T.FLOAT, T.INT32], [T.FLOAT], False),
        ("Where", 21, [T.BOOL, T.UINT16, T.UINT16], [T.UINT16], False),
        ("Where", 21, [T.BOOL, T.FLOAT16, T.FLOAT16], [T.FLOAT16], True),  # by casts of the runtime's own
        ("Gather", 21, [T.UINT64, T.INT32], [T.UINT64], True),
        ("Gather", 21, [T.FLOAT, T.INT8], [T.FLOAT], False),
        ("Slice", 21, [T.FLOAT, T.INT64, T.INT64, None, T.INT64], [T.FLOAT], True),
        ("Concat", 21, [T.BOOL] * 5, [T.BOOL], True),
        ("Swish", 24, [T.FLOAT], [T.FLOAT], True),  # through its function body, which later opsets lost
        ("Swish", 25, [T.FLOAT], [T.FLOAT], False),
        ("Gelu", 18, [T.FLOAT], [T.FLOAT], False),
        ("RandomNormal", 21, [], [T.FLOAT], True),
        ("RandomNormal", 22, [], [T.FLOAT], False),
        ("Attention", 23, [T.FLOAT, T.FLOAT, T.FLOAT, T.BOOL], [T.FLOAT], True),
        ("Attention", 23, [T.DOUBLE] * 3, [T.DOUBLE], False),
        ("Cast", 18, [T.FLOAT], [T.FLOAT8E5M2], False),
        ("Cast", 19, [T.FLOAT], [T.FLOAT8E5M2], True),
        ("Loop", 21, [T.INT64, T.BOOL, T.FLOAT, T.INT32], [T.FLOAT, T.INT32, T.BOOL], True),
        ("Loop", 21, [T.INT64, T.BOOL, T.COMPLEX64], [T.COMPLEX64], False),
        ("SequenceAt", 21, [T.FLOAT, T.INT64], [T.FLOAT], True),
        ("NoSuchOperator", 21, [T.FLOAT], [T.FLOAT], False),
    ],
)
def test_answers(op_type, opset, inputs, outputs, expected):
    assert Target("onnxruntime", opset).runs(op_type, *inputs, outputs=outputs) is expected


def test_a_release_is_asked_for_itself():
    def runs(name, op_type, dtype, **attributes):
        return Target(name, 21).runs(op_type, dtype, attributes=attributes)

    assert runs("onnxruntime-1.32", "BitShift", T.UINT16, direction="LEFT")
    assert not runs("onnxruntime-1.31", "BitShift", T.UINT16, direction="LEFT")
    assert not runs("onnxruntime", "BitShift", T.UINT16, direction="LEFT")  # every supported release has to run it
    assert runs("onnxruntime", "Where", T.BOOL)
    assert not runs("onnxruntime-web", "Einsum", T.BFLOAT16)
    assert runs(None, "Conv", T.DOUBLE)
    assert not runs("onnxruntime", "Conv", T.DOUBLE)


def test_kernels_that_are_wrong_do_not_run():
    assert not Target("onnxruntime", 21).runs("Sign", T.FLOAT16)
    assert Target(None, 21).runs("Sign", T.FLOAT16)


@pytest.mark.parametrize("name", target_names())
def test_targets_say_what_they_are(name):
    runtime = "onnxruntime-web 1." if name == "onnxruntime-web" else "onnxruntime 1."
    assert Target(name, 21).describe().startswith(runtime)


@pytest.mark.parametrize("name", ["tensorrt", "onnxruntime-1.2", "", 3])
def test_unknown_targets_are_refused(name):
    with pytest.raises(SpecError, match=r'Expected "onnxruntime", "onnxruntime-1.31", .* or None'):
        Target(name, 21)


def test_attributes_that_matter():
    halves = [T.FLOAT16, T.INT64, T.FLOAT16]
    target = Target("onnxruntime", 21)
    assert target.runs("ScatterND", *halves, outputs=[T.FLOAT16])
    assert not target.runs("ScatterND", *halves, outputs=[T.FLOAT16], attributes={"reduction": "add"})
    tensors, target = [T.FLOAT] * 3, Target("onnxruntime-1.31", 25)
    assert target.runs("Attention", *tensors, outputs=[T.FLOAT])
    assert not target.runs("Attention", *tensors, outputs=[T.FLOAT], attributes={"left_window_size": 3})


def test_schemas_alone():
    unsigned = [T.BOOL, T.UINT16, T.UINT16]
    assert Target(None, 21).runs("Where", *unsigned, outputs=[T.UINT16])
    assert not Target(None, 21).runs("MatMul", T.INT8, T.INT8, outputs=[T.INT8])


@pytest.mark.parametrize("release", kernels.releases())
def test_every_entry_is_consistent(release):
    """Every kernel is for dtypes that ONNX allows, opsets do not overlap, and operands have known type variables."""
    first, last = opsets()
    for op_type in kernels._table(release)["operators"]:
        seen: set[int] = set()
        for entry in kernels._table(release)["operators"][op_type]:
            low, high = entry["opsets"]
            assert first <= low <= high <= last
            assert seen.isdisjoint(range(low, high + 1))
            seen.update(range(low, high + 1))
            known = kernels.Release(release).signature(op_type, low)
            assert {slot.rstrip("+*") for slot in (*known.inputs, *known.outputs)} <= set(known.allowed)
            for box in known.boxes:
                assert set(box.attributes) <= set(known.defaults)
                for variable, dtypes in box.types.items():
                    assert dtypes <= known.allowed[variable], (op_type, variable)


def test_nothing_is_read_before_it_is_needed():
    code = (
        "import sys, onnx_ir, j2o_core.legalize, j2o_core.target as t, json\n"
        "heavy = [m for m in ('onnxruntime', 'onnx.defs') if m in sys.modules and not m.startswith('onnx.')]\n"
        "lazy = t._kernels._table.cache_info().currsize == 0\n"
        "print(json.dumps([heavy, lazy]))"
    )
    heavy, lazy = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert heavy == []
    assert lazy


# A sample of what the table calls runnable, other than what test_detours.py covers.
SAMPLE = {
    "AveragePool": ([(1, 1, 4)], {"kernel_shape": [2]}),
    "BatchNormalization": ([(1, 2, 3), (2,), (2,), (2,), (2,)], {}),
    "Conv": ([(1, 1, 4), (1, 1, 2)], {}),
    "ConvTranspose": ([(1, 1, 4), (1, 1, 2)], {}),
    "Exp": ([(2,)], {}),
    "GlobalAveragePool": ([(1, 1, 4)], {}),
    "InstanceNormalization": ([(1, 2, 3), (2,), (2,)], {}),
    "LayerNormalization": ([(2, 3), (3,), (3,)], {}),
    "LogSoftmax": ([(2, 3)], {}),
    "PRelu": ([(2, 3), (3,)], {}),
    "ReduceMean": ([(2, 3)], {}),
    "Sigmoid": ([(2,)], {}),
    "Softmax": ([(2, 3)], {}),
    "Tanh": ([(2,)], {}),
}


@pytest.mark.parametrize("opset", [18, 21, 23, 26])
@pytest.mark.parametrize("op_type", SAMPLE)
def test_what_the_table_says_runs(kit, op_type, opset):
    shapes, attributes = SAMPLE[op_type]
    target = Target("onnxruntime", opset)
    known = target.signature(op_type)
    ran = 0
    for dtype in sorted(known.allowed[known.outputs[0]]):
        if not target.runs(op_type, *[dtype] * len(shapes), outputs=[dtype]):
            continue
        arrays = [np.ones(shape, dtype.numpy()) for shape in shapes]
        result = np.zeros((1,), dtype.numpy())
        model = kit.node_model(op_type, arrays, [result], attributes, opset)
        model.graph.outputs[0].shape = None
        assert np.isfinite(kit.run(model, arrays)[0].astype(np.float64)).all()
        ran += 1
    assert ran >= 2
