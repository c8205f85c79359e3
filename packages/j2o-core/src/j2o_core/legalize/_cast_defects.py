"""Casts that the runtime gets wrong: chains that it makes one, overflow to float8, -0 to bool, floats to 4 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ._composer import Composer
from ._detours import FLOAT8, FLOATS, INTEGERS, bits

T = ir.DataType

# What rounds to more than the largest value: the kernel makes it the largest (E4M3FN) or NaN (E5M2).
_FLOAT8_LIMITS = {T.FLOAT8E4M3FN: (464.0, "Greater", np.nan), T.FLOAT8E5M2: (61440.0, "GreaterOrEqual", np.inf)}


def cast(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """The cast with its defects, if it has one."""
    x = node.inputs[0]
    target = T(c.attribute("to", 0))
    if x is None or x.dtype is None:
        return None
    if target in _FLOAT8_LIMITS and x.dtype not in FLOAT8 and not c.attribute("saturate", 1):
        return _to_float8(c, x, x.dtype, target)
    if x.dtype in FLOAT8 and target is T.BOOL:
        wide = c.cast(x, T.FLOAT)
        return [c.op("Not", c.op("Equal", wide, c.const(0, wide), dtype=T.BOOL))]
    if x.dtype in (*FLOATS, *FLOAT8) and target in INTEGERS and bits(target) < 8:
        return [c.cast(c.cast(x, T.INT32), target)]
    return _break_chain(c, x, x.dtype, target)


def _to_float8(c: Composer, x: ir.Value, dtype: ir.DataType, target: ir.DataType) -> Sequence[ir.Value] | None:
    """As Cast(Where(|x| > limit, x * overflow, x)), with NaN or infinity for overflow."""
    if dtype not in FLOATS:
        # Integers of up to 24 bits are float32 numbers, and larger ones are beyond both limits.
        return [c.cast(c.cast(x, T.FLOAT), target)] if dtype is not T.BOOL and bits(dtype) > 8 else None
    limit, compare, overflow = _FLOAT8_LIMITS[target]
    wide = c.cast(x, T.FLOAT) if dtype is T.BFLOAT16 else x
    beyond = c.op(compare, c.op("Abs", wide), c.const(limit, wide), dtype=T.BOOL)
    guarded = c.op("Where", beyond, c.op("Mul", wide, c.const(overflow, wide)), wide, dtype=wide.dtype)
    return [c.op("Cast", guarded, dtype=target, trusted=True, to=int(target), saturate=0)]


def _break_chain(c: Composer, x: ir.Value, dtype: ir.DataType, target: ir.DataType) -> Sequence[ir.Value] | None:
    """Puts an operator that changes nothing between two casts that the runtime would make one."""
    first = x.producer()
    if first is None or first.op_type != "Cast" or first.inputs[0] is None or target not in INTEGERS:
        return None
    if first.inputs[0].dtype not in FLOATS or bits(target) >= bits(dtype):
        return None
    if dtype is T.BFLOAT16:
        wide = c.cast(x, T.FLOAT)
        barrier = c.op("Max", wide, wide)
    elif dtype in INTEGERS:
        barrier = c.op("BitwiseAnd", x, x)
    else:
        return None
    return [c.cast(barrier, target)]
