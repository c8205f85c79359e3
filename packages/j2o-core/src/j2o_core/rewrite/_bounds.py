"""Operators that the ranges of their operands decide.

before: Less(i, 5), with i from 0 to 4              after: true
before: Max(i, 0), Clip(i, 0, 9), Abs(i)            after: i
before: Max(x, 0), with x that is no NaN nor -0     after: x

with integers i and floats x of the range in question. Declines where a constant gives the result its shape, and for
comparisons of symbolic sizes: their result would have to be broadcast.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ._plugin import plugin
from ._rewriter import Rewriter

_MOST_NUMBERS = 4096


@plugin.rewrite(*traits.COMPARISONS)
def _decided(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    size = rw.size(node.outputs[0])
    if size is None:
        return None
    if size > _MOST_NUMBERS:  # cost: of a constant
        return None
    found = rw.range(node.outputs[0])
    return rw.const(np.full(rw.shape(node.outputs[0]), found.low, bool)) if found.low == found.high else None


@plugin.rewrite("Abs", late=True)
def _not_negative(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    found = rw.range(node.inputs[0])
    return node.inputs[0] if found.low >= 0 and not found.negative_zero else None


@plugin.rewrite("Max", "Min", "Clip", late=True)
def _within(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    low, high = None, None
    if node.op_type == "Clip":
        x, low, high = (*node.inputs, None, None)[:3]
    elif len(node.inputs) == 2:
        x, bound = sorted(node.inputs, key=lambda value: rw.scalar(value) is not None)
        low, high = (bound, None) if node.op_type == "Max" else (None, bound)
    else:
        return None
    least, most = -math.inf if low is None else rw.scalar(low), math.inf if high is None else rw.scalar(high)
    if x is None or least is None or most is None or not rw.same_shape(x, node.outputs[0]):
        return None
    found = rw.range(x)
    # Of 0 and -0, the larger is 0.
    if (least == 0 and found.negative_zero) or (most == 0 and math.copysign(1, most) < 0):
        return None
    return x if least <= found.low and found.high <= most else None
