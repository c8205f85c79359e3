"""RMSNormalization-23, and below the form that ONNX Runtime merges.

before: v = ReduceMean(Mul(x, x), axes); y = Mul(x, Reciprocal(Sqrt(Add(v, eps))))       (or Div(x, Sqrt(...)), Pow)
        z = Mul(y, weight)                              (or Mul(x, Mul(..., weight)), or Div(Mul(x, weight), Sqrt(...)))
after:  z = RMSNormalization(x, weight, axis, epsilon)                                   at opset 23 and later
        z = Mul(Div(x, Sqrt(Add(ReduceMean(Pow(x, 2)), eps))), weight)                   below, with a weight

ONNX Runtime makes its own kernel of both; the form before takes twice the time. Below, bfloat16 is computed in float32.
Weights are also taken up behind a Cast to half precision, as in a layer norm. Declines unless the axes are the last
ones, for squares in float16 and float64, and where x is centred first: that is a layer norm.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin
from .._half import SINGLE_RANGE, before_half_cast, widened
from ._layer_norm import (
    first_of_last_axes,
    is_reduced,
    normalised,
    on_last_axes,
    parts_and_weight,
    plain,
    square_of,
    square_root,
)


@plugin.rewrite("Mul", "Div", opset=23, makes="RMSNormalization", needs=("ReduceMean",))
def _rms_norm(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    found = _normalised(rw, node)
    if found is None:
        return None
    x, axis, epsilon, weight = found
    sizes = (rw.shape(x) or ())[axis:]
    if not all(isinstance(size, int) for size in sizes):
        return rw.decline(f"the sizes {sizes} of the axes are symbolic")
    on_axes = rw.const(np.ones(sizes), x) if weight is None else on_last_axes(rw, x, axis, weight)
    if on_axes is None:
        return rw.decline("the weight varies along other axes")
    return rw.op.RMSNormalization(x, on_axes, axis=axis, epsilon=epsilon)


@plugin.rewrite("Mul", opset=23, needs=("RMSNormalization",))
def _absorb_weight(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for norm, weight in normalised(rw, node, "RMSNormalization"):
        if rw.scalar(norm.inputs[1]) == 1:
            result = rw.op.RMSNormalization(norm.inputs[0], weight, **rw.attrs(norm))
            return rw.op.Cast(result, to=node.outputs[0].dtype)
    return None


@plugin.rewrite("Mul", "Div", makes="RMSNormalization", needs=("ReduceMean",))
def _below(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    if rw.opset >= 23:
        return None
    dtype, found = node.outputs[0].dtype, _normalised(rw, node)
    if found is not None and rw.constant(found[3]) is not None:
        return rw.op.Cast(_for_runtime(rw, *found), to=dtype)
    for y, weight in rw.both_ways(node) if node.op_type == "Mul" else []:
        inner = rw.producer(before_half_cast(rw, y) or y, "Mul", "Div")
        if inner is None or y is None or not rw.only_use(y) or rw.constant(weight) is None:
            continue
        found = _normalised(rw, inner)
        if found is None or found[3] is not None or _is_written_for_runtime(rw, inner):
            continue
        if rw.same_shape(y, node.outputs[0]):
            return rw.op.Cast(_for_runtime(rw, *found[:3], weight), to=dtype)
    return None


def _for_runtime(rw: Rewriter, x: ir.Value, axis: int, epsilon: float, weight: ir.Value | None) -> ir.Value:
    x, weight = (rw.op.Cast(value, to=ir.DataType.FLOAT) for value in (x, weight))
    axes = rw.const(range(axis, 0), np.int64)
    mean = rw.op.ReduceMean(rw.op.Pow(x, rw.const(2, x)), axes, keepdims=1)
    root = rw.op.Sqrt(rw.op.Add(mean, rw.const(epsilon, x)))
    return rw.op.Mul(rw.op.Div(x, root), weight)


def _is_written_for_runtime(rw: Rewriter, node: ir.Node) -> bool:
    total = rw.operand_of(node.inputs[1], "Sqrt") if node.op_type == "Div" else None
    mean = rw.operand_of(total, "Add")
    return rw.producer(rw.operand_of(mean, "ReduceMean"), "Pow") is not None


def _normalised(rw: Rewriter, node: ir.Node) -> tuple[ir.Value, int, float, ir.Value | None] | None:
    """(x, first axis from behind, epsilon, weight) of x / sqrt(mean(x * x) + epsilon), times the weight if any."""
    for x, root, weight in parts_and_weight(rw, node):
        if not rw.same_shape(x, node.outputs[0]):
            continue
        centred = rw.producer(x, "Sub")
        if centred is not None and rw.producer(plain(rw, centred.inputs[1]), "ReduceMean") is not None:
            continue
        variance = square_root(rw, plain(rw, root), inverted=node.op_type == "Mul")
        for mean, eps in rw.both_ways(rw.producer(plain(rw, variance), "Add")):
            epsilon, axis = rw.scalar(eps), _axis_of_mean_square(rw, plain(rw, mean), x, root)
            if epsilon is not None and epsilon >= 0 and axis is not None:
                return x, axis, epsilon, weight
    return None


def _axis_of_mean_square(rw: Rewriter, value: ir.Value | None, x: ir.Value, scale: ir.Value) -> int | None:
    """The first of the last axes, from behind, if `scale` has the shape of the mean of x * x over these."""
    mean = rw.producer(value, "ReduceMean")
    root = square_of(rw, widened(rw, rw.operand_of(value, "ReduceMean")))
    if mean is None or root is None or widened(rw, root) is not widened(rw, x):
        return None
    for dtype in (x.dtype, root.dtype):
        if dtype not in SINGLE_RANGE:
            return rw.decline(f"the dtype is {dtype}")
    first = first_of_last_axes(rw, mean, x)
    if first is None:
        return rw.decline("the mean of squares is not over the last axes")
    axis = first - len(rw.shape(x) or ())
    return axis if is_reduced(rw, scale, x, axis) else None
