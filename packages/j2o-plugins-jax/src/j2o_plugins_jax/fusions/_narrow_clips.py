"""Indices in the 32 bits that they have.

before: Clip(Cast(i, to int64), low, high)      after: Cast(Clip(i, low, high), to int64)
before: Equal(Cast(i, to int64), Cast(j, to int64))   after: Equal(i, j)
before: Gather(x, Cast(i, to int64))            after: Gather(x, i)

GatherElements and ScatterElements alike. The same numbers, for i and j of int32 and bounds that fit. ONNX Runtime's
Clip takes 0.2 ms for 200,000 of int64 and 0.02 ms for as many of int32 (1.32, one thread).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Clip", late=True)
def _clip(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    narrow, ends = _narrow(rw, node.inputs[0]), np.iinfo(np.int32)
    if narrow is None:
        return None
    bounds = [int(bound) for bound in map(rw.scalar, node.inputs[1:]) if bound is not None]
    if len(bounds) != 2 or min(bounds) < ends.min or max(bounds) > ends.max:
        return None
    clipped = rw.op.Clip(narrow, *(rw.const(bound, narrow) for bound in bounds))
    return rw.op.Cast(clipped, to=ir.DataType.INT64)  # type: ignore[no-any-return]


@plugin.rewrite("Equal", late=True)
def _equal(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    narrow = [_narrow(rw, value) for value in node.inputs]
    return None if None in narrow else rw.op.Equal(*narrow)


@plugin.rewrite("Gather", "GatherElements", "ScatterElements", late=True)
def _index(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, index, *updates = node.inputs
    narrow = _narrow(rw, index)
    return None if narrow is None else rw.op(node.op_type, x, narrow, *updates, **rw.attrs(node))


def _narrow(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The int32 that an int64 was."""
    cast = rw.producer(value, "Cast")
    source = cast.inputs[0] if cast is not None else None
    is_wider = value is not None and value.dtype is ir.DataType.INT64
    return source if is_wider and source is not None and source.dtype is ir.DataType.INT32 else None
