"""Reductions and products of operands without elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph._sizes import may_be_zero
from ...graph._values import is_empty, shape_of
from ...rewrite import Rewriter
from .._declined import sizes_of

T = ir.DataType


def negative_axes(rw: Rewriter, node: ir.Node) -> Any:
    """With axes counted from the front."""
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    numbers = rw.constant(axes)
    if not is_empty(x) or numbers is None or not (numbers < 0).any():
        return None
    rank = len(sizes_of(x))
    front = rw.const([int(axis) % rank for axis in numbers], np.int64)
    return rw.op(node.op_type, x, front, **rw.attrs(node))


def booleans(rw: Rewriter, node: ir.Node) -> Any:
    """As a reduction of uint8: 0 or 255 of nothing. Also where there may be nothing when the graph runs."""
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if x is None or not any(map(may_be_zero, shape_of(x) or ())):
        return None
    return rw.op.cast(rw.op(node.op_type, rw.op.cast(x, T.UINT8), axes, **rw.attrs(node)), T.BOOL)


def matmul(rw: Rewriter, node: ir.Node) -> Any:
    """As a sum over the columns of one plus a sum over the rows of the other: zeros of the right shape."""
    a, b = node.inputs
    if not is_empty(a) and not is_empty(b):
        return None
    ranks = [len(sizes_of(value)) for value in (a, b)]
    # An operand that is a vector has no axis of its own in the result.
    keep = int(min(ranks) > 1)
    inner = [ranks[0] - 1, max(ranks[1] - 2, 0)]
    rows, columns = (
        rw.op.ReduceSum(x, rw.const([axis], np.int64), keepdims=keep) for x, axis in zip((a, b), inner, strict=True)
    )
    return rw.op.Add(rows, columns)
