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
from ._index_forms import before_widening


@plugin.rewrite("Clip", late=True)
def _clip(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    narrow, ends = before_widening(rw, node.inputs[0]), np.iinfo(np.int32)
    if narrow is None:
        return None
    bounds = [int(bound) for bound in map(rw.scalar, node.inputs[1:]) if bound is not None]
    if len(bounds) != 2 or min(bounds) < ends.min or max(bounds) > ends.max:
        return None
    clipped = rw.op.Clip(narrow, *(rw.const(bound, narrow) for bound in bounds))
    return rw.op.Cast(clipped, to=ir.DataType.INT64)


@plugin.rewrite("Equal", late=True)
def _equal(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    narrow = [before_widening(rw, value) for value in node.inputs]
    return None if None in narrow else rw.op.Equal(*narrow)


@plugin.rewrite("Gather", "GatherElements", "ScatterElements", late=True)
def _index(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, index, *updates = node.inputs
    narrow = before_widening(rw, index)
    return None if narrow is None else rw.op(node.op_type, x, narrow, *updates, **rw.attrs(node))
