"""Builds models of one node in any element type, legalizes them, and runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

ort = pytest.importorskip("onnxruntime")

from j2o_core.target import Target  # noqa: E402
from j2o_core.testing._legalized import legalize_model  # noqa: E402


def legalize(model: ir.Model, target: str | None = "onnxruntime") -> None:
    """Legalizes a model for a target given by name, exactly for NaN and infinities too."""
    legalize_model(model, Target(target, model.graph.opset_imports[""], exact_nonfinite=True))


def dtype_of(array: Any) -> ir.DataType:
    return ir.DataType.from_numpy(np.asarray(array).dtype)


def value(name: str | None, array: np.ndarray, shape: Sequence[Any] | None = None) -> ir.Value:
    return ir.Value(
        name=name, type=ir.TensorType(dtype_of(array)), shape=ir.Shape(array.shape if shape is None else shape)
    )


def initializer(name: str, array: np.ndarray) -> ir.Value:
    constant = value(name, array)
    constant.const_value = ir.Tensor(array, dtype=dtype_of(array), name=name)
    return constant


def model_of(
    inputs: Sequence[ir.Value],
    nodes: Sequence[ir.Node],
    outputs: Sequence[ir.Value],
    opset: int,
    initializers: Sequence[ir.Value] = (),
) -> ir.Model:
    graph = ir.Graph(
        inputs, outputs, nodes=nodes, initializers=initializers, opset_imports={"": opset}, name="one_node"
    )
    for number, node in enumerate(graph):
        node.name = node.name or f"{node.op_type}_{number}"
        for index, out in enumerate(node.outputs):
            out.name = out.name or f"{node.name}:{index}"
    return ir.Model(graph, ir_version=13 if opset > 24 else 11 if opset > 22 else 10)


@dataclasses.dataclass(frozen=True)
class Static:
    """An operand that is an initializer rather than an input."""

    array: np.ndarray


def node_model(
    op_type: str,
    operands: Sequence[np.ndarray | Static | None],
    results: Sequence[np.ndarray],
    attributes: Mapping[str, Any],
    opset: int,
    dims: Sequence[Any] | None = None,
) -> ir.Model:
    """A model of one node.

    Args:
        op_type: The operator.
        operands: Arrays to feed, initializers, or None for what is left out.
        results: What is expected; gives the element types and shapes of the outputs.
        attributes: The node's attributes.
        opset: The opset.
        dims: Symbolic shape of the first operand.
    """
    inputs, initializers, slots = [], [], []
    for index, operand in enumerate(operands):
        if operand is None:
            slots.append(None)
            continue
        if isinstance(operand, Static):
            slots.append(initializer(f"c{index}", operand.array))
            initializers.append(slots[-1])
        else:
            slots.append(value(f"x{index}", operand, dims if index == 0 else None))
            inputs.append(slots[-1])
    node = ir.node(op_type, slots, attributes, num_outputs=len(results), name="it")
    for index, (out, result) in enumerate(zip(node.outputs, results, strict=True)):
        out.name = f"y{index}"
        out.type = ir.TensorType(dtype_of(result))
        if dims is None:
            out.shape = ir.Shape(np.shape(result))
    return model_of(inputs, [node], list(node.outputs), opset, initializers)


def comparable(array: np.ndarray) -> np.ndarray:
    """The array in an element type that NumPy compares, with the same values."""
    dtype = dtype_of(array)
    if dtype.itemsize < 1:
        return array.astype(np.int8)
    if array.dtype.kind == "V" or array.dtype.name.startswith(("bfloat", "float8")):
        return array.astype(np.float32)
    return array


def _make_readable(model: ir.Model) -> None:
    """Casts the outputs whose element types do not exist in NumPy."""
    graph = model.graph
    for index, out in enumerate(list(graph.outputs)):
        wide = comparable(np.zeros((), out.dtype.numpy())).dtype
        if wide != out.dtype.numpy():
            node = ir.node("Cast", [out], {"to": int(ir.DataType.from_numpy(wide))}, name=f"read_{index}")
            node.outputs[0].name = f"read_{index}"
            node.outputs[0].type = ir.TensorType(ir.DataType.from_numpy(wide))
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
    for index, x in enumerate(list(graph.inputs)):
        if x.dtype.itemsize < 1:
            # Elements that share a byte cannot be fed: they come as int8.
            fed = ir.Value(name=f"fed_{index}", type=ir.TensorType(ir.DataType.INT8), shape=x.shape)
            node = ir.node("Cast", [fed], {"to": int(x.dtype)}, name=f"feed_{index}")
            x.replace_all_uses_with(node.outputs[0])
            node.outputs[0].name, node.outputs[0].type = f"narrow_{index}", x.type
            graph.insert_before(graph[0], node)
            graph.inputs[index] = fed


def run(model: ir.Model, arrays: Sequence[np.ndarray], *, optimize: bool = True) -> list[np.ndarray]:
    """Runs a model; results in element types that NumPy lacks come as float32 or int8."""
    model = model.clone()
    _make_readable(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {}
    for x, array in zip(model.graph.inputs, arrays, strict=True):
        array = comparable(array) if dtype_of(array).itemsize < 1 else np.ascontiguousarray(array).reshape(array.shape)
        if comparable(array).dtype != array.dtype:
            stored = array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)
            feeds[x.name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(stored, int(dtype_of(array)))
        else:
            feeds[x.name] = ort.OrtValue.ortvalue_from_numpy(array)
    return [r.numpy() for r in session.run_with_ort_values(None, feeds)]


def check_node(
    op_type: str,
    operands: Sequence[np.ndarray | Static | None],
    expected: np.ndarray | Sequence[np.ndarray],
    *,
    opset: int = 21,
    dims: Sequence[Any] | None = None,
    ulps: int = 0,
    target: str | None = "onnxruntime",
    **attributes: Any,
) -> ir.Model:
    """Legalizes a model of one node and compares what it computes, with and without the runtime's optimizer."""
    results = [expected] if isinstance(expected, np.ndarray) else list(expected)
    model = node_model(op_type, operands, results, attributes, opset, dims)
    legalize(model, target=target)
    assert [out.name for out in model.graph.outputs] == [f"y{i}" for i in range(len(results))]
    assert [out.dtype for out in model.graph.outputs] == [dtype_of(r) for r in results]
    for node in model.graph:
        assert all(out.dtype is not None for out in node.outputs), node
    arrays = [a for a in operands if a is not None and not isinstance(a, Static)]
    # The changes of the optimizer do not depend on the opset.
    for optimize in (False, True) if opset == 21 else (True,):
        for got, want in zip(run(model, arrays, optimize=optimize), results, strict=True):
            assert got.shape == want.shape
            if ulps:
                np.testing.assert_allclose(got, comparable(want), rtol=ulps * np.finfo(want.dtype).eps, atol=0)
            else:
                np.testing.assert_array_equal(got, comparable(want))
    return model


EXTRA = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "int4", "uint4")
}


def dtype_named(name: str) -> np.dtype:
    return EXTRA.get(name) or np.dtype(name)


def sample(dtype: np.dtype, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Values of the whole range of an element type; the extremes come first."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.name in ("int4", "uint4") or dtype.kind in "iu":
        info = ml_dtypes.iinfo(dtype)
        first = [info.min, info.max, 0, 1, info.max // 2 + 1]
        kind = np.int64 if info.min < 0 else np.uint64
        values = rng.integers(info.min, info.max, count, dtype=kind, endpoint=True)
        # Of every magnitude: kernels have been seen to compare the halves of a word.
        values >>= rng.integers(0, dtype_of(np.zeros((), dtype)).itemsize * 8, count).astype(kind)
        values[: len(first)] = np.asarray(first, kind)[:count]
        return values.astype(dtype).reshape(shape)
    info = ml_dtypes.finfo(dtype)
    first = [np.nan, float(info.max), float(info.min), 0.0, -0.0, float(info.smallest_subnormal)]
    if dtype.name in ("float16", "float32", "float64", "bfloat16", "float8_e5m2"):
        first += [np.inf, -np.inf]
    values = rng.standard_normal(count) * 10.0 ** rng.uniform(-2, 2, count)
    values[: len(first)] = first[:count]
    rng.shuffle(values)
    return values.astype(dtype).reshape(shape)


@pytest.fixture
def kit() -> Any:
    """The functions of this file."""
    import types

    return types.SimpleNamespace(**{name: item for name, item in globals().items() if not name.startswith("_")})
