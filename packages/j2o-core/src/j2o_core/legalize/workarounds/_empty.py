"""Reductions, products, windows, attention and scatters of operands without elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph._sizes import is_asked_to_be_zero, may_be_zero
from ...graph._values import is_empty, shape_of
from ...rewrite import Rewriter
from ...target import SIGNED
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
        # Signed integers are right where there may be nothing to sum when the graph runs.
        summed = (shape_of(a) or ())[-1:] if a is not None and a.dtype not in SIGNED else ()
        return kernel(rw, node) if any(map(may_be_zero, summed)) else None
    ranks = [len(sizes_of(value)) for value in (a, b)]
    # An operand that is a vector has no axis of its own in the result.
    keep = int(min(ranks) > 1)
    inner = [ranks[0] - 1, max(ranks[1] - 2, 0)]
    rows, columns = (
        rw.op.ReduceSum(x, rw.const([axis], np.int64), keepdims=keep) for x, axis in zip((a, b), inner, strict=True)
    )
    return rw.op.Add(rows, columns)


# Operands whose sizes the kernels look at, if more than one: not the bias of a Conv, nor the mask of Attention.
_OPERANDS = {"Conv": 2, "ConvTranspose": 2, "Attention": 2, "MatMul": 2}


def kernel(rw: Rewriter, node: ir.Node) -> Any:
    """The result for nothing; where there may be nothing when the graph runs, If(sizes, kernel, that)."""
    result, op_type = node.outputs[0], node.op_type
    values = (result, *node.inputs[: _OPERANDS.get(op_type, 1)])
    asked = may_be_zero if op_type == "MatMul" else is_asked_to_be_zero
    sizes = {str(size): size for x in values if x is not None for size in shape_of(x) or () if asked(size)}
    if not sizes or len(node.outputs) > 1 or shape_of(result) is None:
        return None
    if not rw.target.runs(op_type, result.dtype, attributes=rw.attrs(node)):
        return None

    def nothing(rw: Rewriter) -> Any:
        return rw.expand(_of_nothing(rw, node), sizes_of(result))

    if "0" in sizes:
        return nothing(rw)
    return unless_empty(rw, sizes.values(), lambda rw: rw.op.plain(op_type, *node.inputs, **rw.attrs(node)), nothing)


def unless_empty(
    rw: Rewriter, sizes: Iterable[Any], full: Callable[[Rewriter], Any], nothing: Callable[[Rewriter], Any]
) -> Any:
    """If(none of the sizes is 0, full, nothing)."""
    there = rw.op.Cast(rw.dim(math.prod(sizes)), to=T.BOOL)
    return rw.op.If(there, then_branch=rw.branch(full, "then"), else_branch=rw.branch(nothing, "else"))


def _of_nothing(rw: Rewriter, node: ir.Node) -> Any:
    """The result, to be broadcast: of windows of padding alone, of queries without keys, of updates of nothing."""
    x = node.outputs[0]
    if node.op_type in ("ScatterND", "ScatterElements"):
        return node.inputs[0]
    bias = node.inputs[2] if node.op_type in ("Conv", "ConvTranspose") and len(node.inputs) > 2 else None
    if bias is not None:
        return rw.reshape(bias, [1, -1, *[1] * (len(sizes_of(x)) - 2)])
    if node.op_type == "MaxPool":
        return rw.const(-np.inf if rw.dtype(x).kind not in "iu" else np.iinfo(rw.dtype(x)).min, x)
    return rw.const(0, x)
