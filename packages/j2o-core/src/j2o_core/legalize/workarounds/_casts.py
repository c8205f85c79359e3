"""Casts that the runtime gets wrong: to float8, of -0 to bool, of floats to 4 bits; chains made one; before Shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...rewrite import Rewriter
from ...target import FLOAT8, FLOATS, INTEGERS, bits, cast_attributes

T = ir.DataType

_FEW_BITS = tuple(dtype for dtype in INTEGERS if bits(dtype) < 8)

# Numbers that round to more than the largest value: the kernel makes them the largest (E4M3FN) or NaN (E5M2).
_FLOAT8_LIMITS = {T.FLOAT8E4M3FN: (464.0, "Greater", np.nan), T.FLOAT8E5M2: (61440.0, "GreaterOrEqual", np.inf)}


def overflow(rw: Rewriter, node: ir.Node) -> Any:
    """To float8 without saturation, as Cast(Where(|x| > limit, x * overflow, x)), with NaN or infinity for overflow."""
    op, x, target = rw.op, node.inputs[0], T(rw.attr(node, "to"))
    if x is None or x.dtype is None or target not in _FLOAT8_LIMITS:
        return None
    if rw.attr(node, "saturate", 1):
        return None
    if x.dtype not in FLOATS:
        # Integers of up to 24 bits are float32 numbers, and larger ones are beyond both limits.
        return op.cast(op.cast(x, T.FLOAT), target) if bits(x.dtype) > 8 else None
    limit, compare, beyond_limit = _FLOAT8_LIMITS[target]
    wide = op.cast(x, T.FLOAT) if x.dtype is T.BFLOAT16 else x
    beyond = op(compare, op.Abs(wide), op.const(limit, wide))
    guarded = op.Where(beyond, op.Mul(wide, op.const(beyond_limit, wide)), wide)
    return op.plain("Cast", guarded, to=target, saturate=0)


def round_twice(rw: Rewriter, node: ir.Node) -> Any:
    """From float64 to float8, as a float32 number that is on the same side of each middle between two numbers.

    Such a middle has at most 5 bits: x as bfloat16 is one, or on the same side, and a 1024th more or less tells which.
    """
    op, x, target = rw.op, node.inputs[0], T(rw.attr(node, "to"))
    if x is None or target not in (*FLOAT8, T.FLOAT8E8M0):
        return None
    few = op.cast(op.cast(x, T.BFLOAT16), T.DOUBLE)
    sizes = [op.Abs(value) for value in (x, few)]
    rest = op.Where(op.Less(*sizes), op.const(1 - 2**-10, x), op.const(1.0, x))
    rest = op.Where(op.Greater(*sizes), op.const(1 + 2**-10, x), rest)
    return op.Cast(op.cast(op.Mul(few, rest), T.FLOAT), **rw.attrs(node))


def to_powers(rw: Rewriter, node: ir.Node) -> Any:
    """To the nearest number of E8M0: up to 1.5 * 2^127 it is 2^127, and below 2^-126 it is that or 2^-127."""
    op, x, target = rw.op, node.inputs[0], T(rw.attr(node, "to"))
    if x is None or target is not T.FLOAT8E8M0 or rw.attr(node, "round_mode", "up") != "nearest":
        return None
    wide = op.cast(x, T.FLOAT)
    least, most = (op.const(number, wide) for number in (1.5 * 2.0**-127, 1.5 * 2.0**127))
    inside = op.And(op.GreaterOrEqual(wide, least), op.Less(wide, most))
    clipped = op.Clip(wide, *(op.const(number, wide) for number in (2.0**-126, 2.0**127)))
    positive = op.Greater(wide, op.const(0, wide))
    tiny = op.Where(positive, op.Max(wide, op.const(2.0**-127, wide)), wide)
    return op.plain("Cast", op.Where(inside, clipped, tiny), to=target, **cast_attributes(target, op.target.opset))


def to_bool(rw: Rewriter, node: ir.Node) -> Any:
    """From float8, as x != 0."""
    op, x = rw.op, node.inputs[0]
    if x is None or T(rw.attr(node, "to")) is not T.BOOL:
        return None
    wide = op.cast(x, T.FLOAT)
    return op.Not(op.Equal(wide, op.const(0, wide)))


def to_few_bits(rw: Rewriter, node: ir.Node) -> Any:
    """From a float, through int32."""
    x, target = node.inputs[0], T(rw.attr(node, "to"))
    if x is None or target not in _FEW_BITS:
        return None
    return rw.op.cast(rw.op.cast(x, T.INT32), target)


def break_chain(rw: Rewriter, node: ir.Node) -> Any:
    """An optimization barrier between two casts that the runtime would make one."""
    x, target = node.inputs[0], T(rw.attr(node, "to"))
    first = rw.producer(x, "Cast")
    if x is None or x.dtype is None or first is None or first.inputs[0] is None or target not in INTEGERS:
        return None
    if first.inputs[0].dtype not in FLOATS or bits(target) >= bits(x.dtype):
        return None
    return rw.op.plain("Cast", rw.op.barrier(x), to=target)


def shape(rw: Rewriter, node: ir.Node) -> Any:
    """Shape(Cast(x)) of few bits as Shape(Unsqueeze(Cast(x), 0), start=1)."""
    x = node.inputs[0]
    cast = rw.producer(x, "Cast")
    while cast is not None and cast.inputs[0] is not None and cast.inputs[0].dtype not in _FEW_BITS:
        cast = rw.producer(cast.inputs[0], "Cast")
    if cast is None:
        return None
    # Places from the front are one further, those from the back stay.
    ends = {name: place + (place >= 0) for name, place in {"start": 0, **rw.attrs(node)}.items()}
    return rw.op.Shape(rw.op.Unsqueeze(x, rw.const([0], np.int64)), **ends)
