"""Softmax.

before: m = ReduceMax(x, axis); e = Exp(Sub(x, m)); y = Div(e, ReduceSum(e, axis))
after:  y = Softmax(x, axis)

Declines for more than one axis, and where what is subtracted is not the maximum of x.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Div")
def _softmax(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    exp, total = rw.producer(node.inputs[0], "Exp"), rw.producer(node.inputs[1], "ReduceSum")
    if exp is None or total is None or total.inputs[0] is not exp.outputs[0]:
        return None
    shape = rw.shape(node.outputs[0])
    axes = rw.constant(total.inputs[1]) if len(total.inputs) > 1 else None
    if shape is None or axes is None or len(axes) != 1 or not rw.attr(total, "keepdims", 1):
        return None
    shifted = rw.producer(exp.inputs[0], "Sub")
    axis = int(axes[0]) % len(shape)
    if shifted is None or shifted.inputs[0] is None or not _is_maximum(rw, shifted.inputs[1], shifted.inputs[0], axis):
        return None
    return rw.op.Softmax(shifted.inputs[0], axis=axis - len(shape))  # type: ignore[no-any-return]


def _is_maximum(rw: Rewriter, value: ir.Value | None, x: ir.Value, axis: int) -> bool:
    """Whether a value is the maximum of x along an axis; axes of size 1 may have moved on the way."""
    node = rw.producer(_before_reshape(rw, value), "ReduceMax")
    source = node.inputs[0] if node is not None else None
    if node is None or source is None or not rw.attr(node, "keepdims", 1):
        return False
    axes = rw.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or len(axes) != 1:
        return False
    if source is x:
        return int(axes[0]) % len(rw.shape(x) or ()) == axis
    if _before_reshape(rw, x) not in (source, _before_reshape(rw, source)):
        return False
    shapes = rw.shape(source), rw.shape(x)
    return _axis_without_ones(shapes[0], int(axes[0])) == _axis_without_ones(shapes[1], axis) is not None


def _before_reshape(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    node = rw.producer(value, "Reshape", "Unsqueeze", "Squeeze")
    return node.inputs[0] if node is not None else value


def _axis_without_ones(shape: tuple[Any, ...] | None, axis: int) -> tuple[Any, ...] | None:
    """The sizes other than 1, and which of them the axis is; None for an axis of size 1."""
    if shape is None:
        return None
    axis %= len(shape)
    if shape[axis] == 1:
        return None
    return sum(size != 1 for size in shape[:axis]), *(str(size) for size in shape if size != 1)
