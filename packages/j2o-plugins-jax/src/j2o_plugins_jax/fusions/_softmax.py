"""Softmax.

before: m = ReduceMax(x, axis); e = Exp(Sub(x, m)); y = Div(e, ReduceSum(e, axis))
after:  y = Softmax(x, axis)

Declines for more than one axis, and where what is subtracted is not the maximum of x.
"""

from __future__ import annotations

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
    node = rw.producer(value, "ReduceMax")
    if node is None or node.inputs[0] is not x or not rw.attr(node, "keepdims", 1):
        return False
    axes = rw.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = len(rw.shape(x) or ())
    return axes is not None and [int(a) % rank for a in axes] == [axis]
