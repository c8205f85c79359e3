"""Reductions and products of operands without elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from .._composer import Composer, dimensions
from .._emitter import read_attribute, read_constant

T = ir.DataType


def negative_axes(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """With axes counted from the front."""
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    numbers = read_constant(axes)
    if not _is_empty(x) or numbers is None or not (numbers < 0).any():
        return None
    assert x is not None
    assert x.shape is not None
    front = c.ints([int(axis) % len(x.shape) for axis in numbers])
    return [c.op(node.op_type, x, front, shape=node.outputs[0].shape, **_attributes(node))]


def booleans(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As a reduction of uint8: 0 or 255 of nothing."""
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if not _is_empty(x) or c.opset < 20:
        return None
    assert x is not None
    narrow = c.op(node.op_type, c.cast(x, T.UINT8), axes, shape=node.outputs[0].shape, **_attributes(node))
    return [c.cast(narrow, T.BOOL)]


def _is_empty(x: ir.Value | None) -> bool:
    return x is not None and x.shape is not None and 0 in x.shape


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: read_attribute(node, name, None) for name in node.attributes}


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
