"""The table of what runs: its answers, and that reading it costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.legalize import RUNTIME, runnable
from j2o_core.legalize import _kernels as kernels

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
    assert runnable(op_type, opset, inputs, outputs) is expected


def test_attributes_that_matter():
    halves = [T.FLOAT16, T.INT64, T.FLOAT16]
    assert runnable("ScatterND", 21, halves, [T.FLOAT16])
    assert not runnable("ScatterND", 21, halves, [T.FLOAT16], attributes={"reduction": "add"})
    tensors = [T.FLOAT] * 3
    assert runnable("Attention", 25, tensors, [T.FLOAT])
    assert not runnable("Attention", 25, tensors, [T.FLOAT], attributes={"left_window_size": 3})


def test_schemas_alone():
    unsigned = [T.BOOL, T.UINT16, T.UINT16]
    assert runnable("Where", 21, unsigned, [T.UINT16], target=None)
    assert not runnable("MatMul", 21, [T.INT8, T.INT8], [T.INT8], target=None)


def test_every_entry_is_consistent():
    """What runs is allowed, opsets do not overlap, and operands have type variables that are known."""
    first, last = kernels.opsets()
    for op_type in kernels._table()["operators"]:
        seen: set[int] = set()
        for entry in kernels._table()["operators"][op_type]:
            low, high = entry["opsets"]
            assert first <= low <= high <= last
            assert seen.isdisjoint(range(low, high + 1))
            seen.update(range(low, high + 1))
            known = kernels.signature(op_type, low)
            assert {slot.rstrip("+*") for slot in (*known.inputs, *known.outputs)} <= set(known.allowed)
            for box in known.boxes:
                assert set(box.attributes) <= set(known.defaults)
                for variable, dtypes in box.types.items():
                    assert dtypes <= known.allowed[variable], (op_type, variable)


def test_table_names_the_runtime():
    assert kernels.runtime_version().startswith(f"{RUNTIME} 1.")


def test_nothing_is_read_before_it_is_needed():
    code = (
        "import sys, time, onnx_ir, j2o_core.legalize as l, json\n"
        "heavy = [m for m in ('onnxruntime', 'onnx.defs') if m in sys.modules and not m.startswith('onnx.')]\n"
        "lazy = l._kernels._table.cache_info().currsize == 0\n"
        "start = time.perf_counter(); l._kernels._table(); took = time.perf_counter() - start\n"
        "print(json.dumps([heavy, lazy, took]))"
    )
    heavy, lazy, took = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert heavy == []
    assert lazy
    assert took < 0.1  # a few milliseconds on an idle machine


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
    known = kernels.signature(op_type, opset)
    ran = 0
    for dtype in sorted(known.allowed[known.outputs[0]]):
        if not runnable(op_type, opset, [dtype] * len(shapes), [dtype]):
            continue
        arrays = [np.ones(shape, dtype.numpy()) for shape in shapes]
        result = np.zeros((1,), dtype.numpy())
        model = kit.node_model(op_type, arrays, [result], attributes, opset)
        model.graph.outputs[0].shape = None
        assert np.isfinite(kit.run(model, arrays)[0].astype(np.float64)).all()
        ran += 1
    assert ran >= 2
