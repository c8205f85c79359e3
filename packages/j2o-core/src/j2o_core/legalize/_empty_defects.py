"""Reductions and products of operands without elements."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ._composer import Composer, dimensions
from ._emitter import read_attribute, read_constant

T = ir.DataType


def reduction(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """With axes counted from the front, and of bool as uint8."""
    x = node.inputs[0]
    if x is None or x.shape is None or 0 not in x.shape:
        return None
    attributes = {name: read_attribute(node, name, None) for name in node.attributes}
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    numbers = read_constant(axes)
    rank = len(x.shape)
    if numbers is not None and (numbers < 0).any():
        axes = c.ints([int(axis) % rank for axis in numbers])
    elif x.dtype is not T.BOOL or c.opset < 20:
        return None
    shape = node.outputs[0].shape
    if x.dtype is T.BOOL:
        return [c.cast(c.op(node.op_type, c.cast(x, T.UINT8), axes, shape=shape, **attributes), T.BOOL)]
    return [c.op(node.op_type, x, axes, shape=shape, **attributes)]


def matmul(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As a sum over the columns of one plus a sum over the rows of the other: zeros of the right shape."""
    a, b = node.inputs
    if a is None or b is None or a.shape is None or b.shape is None or not (0 in a.shape or 0 in b.shape):
        return None
    left, right = dimensions(a), dimensions(b)
    # An operand that is a vector has no axis of its own in the result.
    keep = int(len(left) > 1 and len(right) > 1)
    inner = [len(left) - 1, max(len(right) - 2, 0)]
    rows, columns = (
        c.op("ReduceSum", x, c.ints([i]), shape=[*sizes[:i], *[1] * keep, *sizes[i + 1 :]], keepdims=keep)
        for x, sizes, i in ((a, left, inner[0]), (b, right, inner[1]))
    )
    return [c.op("Add", rows, columns, shape=node.outputs[0].shape)]
