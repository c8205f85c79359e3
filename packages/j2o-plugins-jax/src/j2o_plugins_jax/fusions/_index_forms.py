"""The forms in which JAX has indices, read in one way."""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter


def before_widening(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The int32 that an int64 was, None for other values."""
    source = rw.operand_of(value, "Cast")
    is_wider = value is not None and value.dtype is ir.DataType.INT64
    return source if is_wider and source is not None and source.dtype is ir.DataType.INT32 else None


def before_wrapping(rw: Rewriter, where: ir.Node | None, size: float) -> ir.Value | None:
    """The i of Where(i < 0, i + size, i), of 32 or 64 bits, None for other nodes and where i is broadcast."""
    if where is None:
        return None
    is_negative, total, index = where.inputs
    less, add = rw.producer(is_negative, "Less"), rw.producer(total, "Add")
    if index is None or index.dtype not in (ir.DataType.INT32, ir.DataType.INT64) or less is None or add is None:
        return None
    if less.inputs[0] is not index or rw.scalar(less.inputs[1]) != 0 or not rw.same_shape(index, where.outputs[0]):
        return None
    found = any(one is index and rw.scalar(other) == size for one, other in rw.both_ways(add))
    return index if found else None
