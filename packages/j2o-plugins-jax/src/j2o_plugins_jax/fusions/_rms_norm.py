"""RMSNormalization-23, and below the form that ONNX Runtime merges.

before: v = ReduceMean(Mul(x, x), axes); y = Mul(x, Reciprocal(Sqrt(Add(v, eps))))       (or Div(x, Sqrt(...)), Pow)
        z = Mul(y, weight)
after:  z = RMSNormalization(x, weight, axis, epsilon)                                   at opset 23 and later
        z = Mul(Div(x, Sqrt(Add(ReduceMean(Pow(x, 2)), eps))), weight)                   below, with a weight

ONNX Runtime makes its own kernel of both; the form before takes twice the time. Float32 only. Declines unless the axes
are the last ones, and where x is centred first: that is a layer norm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin
from ._layer_norm import _first_of_last_axes, _on_normalised_axes, _square_root

_LAYOUT = ("Reshape", "Unsqueeze", "Squeeze")


@plugin.rewrite("Mul", "Div", opset=23)
def _rms_norm(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    found = _normalised(rw, node)
    if found is None:
        return None
    x, axis, epsilon = found
    sizes = (rw.shape(x) or ())[axis:]
    if not all(isinstance(size, int) for size in sizes):
        return None
    return rw.op.RMSNormalization(x, rw.const(np.ones(sizes), x), axis=axis, epsilon=epsilon)  # type: ignore[no-any-return]


@plugin.rewrite("Mul", opset=23)
def _absorb_weight(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for norm, weight in rw.operands(node, "RMSNormalization"):
        y = norm.outputs[0]
        if rw.scalar(norm.inputs[1]) != 1 or not rw.only_use(y) or not rw.same_shape(y, node.outputs[0]):
            continue
        on_axes = _on_normalised_axes(rw, norm, weight)
        if on_axes is not None:
            attrs = {name: attribute.value for name, attribute in norm.attributes.items()}
            return rw.op.RMSNormalization(norm.inputs[0], on_axes, **attrs)  # type: ignore[no-any-return]
    return None


@plugin.rewrite("Mul")
def _below(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    if rw.opset >= 23:
        return None
    for place in (0, 1):
        y, weight = node.inputs[place], node.inputs[1 - place]
        inner = rw.producer(y, "Mul", "Div")
        if inner is None or y is None or not rw.only_use(y) or rw.constant(weight) is None:
            continue
        found = _normalised(rw, inner)
        if found is None or _is_written_for_runtime(rw, inner) or not rw.same_shape(y, node.outputs[0]):
            continue
        x, axis, epsilon = found
        axes = rw.const(range(axis, 0), np.int64)
        mean = rw.op.ReduceMean(rw.op.Pow(x, rw.const(2, x)), axes, keepdims=1)
        root = rw.op.Sqrt(rw.op.Add(mean, rw.const(epsilon, x)))
        return rw.op.Mul(rw.op.Div(x, root), weight)  # type: ignore[no-any-return]
    return None


def _is_written_for_runtime(rw: Rewriter, node: ir.Node) -> bool:
    root = rw.producer(node.inputs[1], "Sqrt") if node.op_type == "Div" else None
    total = rw.producer(root.inputs[0], "Add") if root is not None else None
    mean = rw.producer(total.inputs[0], "ReduceMean") if total is not None else None
    return mean is not None and rw.producer(mean.inputs[0], "Pow") is not None


def _normalised(rw: Rewriter, node: ir.Node) -> tuple[ir.Value, int, float] | None:
    """(x, first axis from behind, epsilon) of x / sqrt(mean(x * x) + epsilon)."""
    for place in (0, 1) if node.op_type == "Mul" else (0,):
        x, scale = node.inputs[place], node.inputs[1 - place]
        if x is None or x.dtype is not ir.DataType.FLOAT or scale is None or not rw.same_shape(x, node.outputs[0]):
            continue
        centred = rw.producer(x, "Sub")
        if centred is not None and rw.producer(_plain(rw, centred.inputs[1]), "ReduceMean") is not None:
            continue
        variance = _square_root(rw, _plain(rw, scale), inverted=node.op_type == "Mul")
        total = rw.producer(_plain(rw, variance), "Add")
        for mean, eps in _both_ways(total):
            epsilon, axis = rw.scalar(eps), _axis_of_mean_square(rw, _plain(rw, mean), x, scale)
            if epsilon is not None and epsilon >= 0 and axis is not None:
                return x, axis, epsilon
    return None


def _both_ways(node: ir.Node | None) -> list[tuple[ir.Value | None, ir.Value | None]]:
    return [] if node is None else [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])]


def _plain(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """A value before axes of size 1 came or went."""
    layout = rw.producer(value, *_LAYOUT)
    return layout.inputs[0] if layout is not None else value


def _axis_of_mean_square(rw: Rewriter, value: ir.Value | None, x: ir.Value, scale: ir.Value) -> int | None:
    """The first of the last axes, from behind, if `scale` has the shape of the mean of x * x over these."""
    mean = rw.producer(value, "ReduceMean")
    square = rw.producer(mean.inputs[0], "Mul", "Pow") if mean is not None else None
    if mean is None or square is None or square.inputs[0] is not x:
        return None
    squares = square.inputs[1] is x if square.op_type == "Mul" else rw.scalar(square.inputs[1]) == 2
    axis = _first_of_last_axes(rw, mean, x)
    shape: Any = rw.shape(x)
    if not squares or axis is None or shape is None:
        return None
    wanted = [str(size) for size in (*shape[:axis], *[1] * (len(shape) - axis))]
    return axis - len(shape) if [str(size) for size in rw.shape(scale) or ()] == wanted else None
