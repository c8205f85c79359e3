"""Casts that the runtime gets wrong: chains that it makes one, overflow to float8, -0 to bool, floats to 4 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ...target import FLOAT8, FLOATS, INTEGERS, bits
from .._composer import Composer

T = ir.DataType

# What rounds to more than the largest value: the kernel makes it the largest (E4M3FN) or NaN (E5M2).
_FLOAT8_LIMITS = {T.FLOAT8E4M3FN: (464.0, "Greater", np.nan), T.FLOAT8E5M2: (61440.0, "GreaterOrEqual", np.inf)}


def overflow(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """To float8 without saturation, as Cast(Where(|x| > limit, x * overflow, x)), with NaN or infinity for overflow."""
    x, target = node.inputs[0], T(c.attribute("to", 0))
    if x is None or x.dtype is None or target not in _FLOAT8_LIMITS or x.dtype in FLOAT8 or c.attribute("saturate", 1):
        return None
    if x.dtype not in FLOATS:
        # Integers of up to 24 bits are float32 numbers, and larger ones are beyond both limits.
        return [c.cast(c.cast(x, T.FLOAT), target)] if x.dtype is not T.BOOL and bits(x.dtype) > 8 else None
    limit, compare, beyond_limit = _FLOAT8_LIMITS[target]
    wide = c.cast(x, T.FLOAT) if x.dtype is T.BFLOAT16 else x
    beyond = c.op(compare, c.op("Abs", wide), c.const(limit, wide), dtype=T.BOOL)
    guarded = c.op("Where", beyond, c.op("Mul", wide, c.const(beyond_limit, wide)), wide, dtype=wide.dtype)
    return [c.op("Cast", guarded, dtype=target, trusted=True, to=int(target), saturate=0)]


def to_bool(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """From float8, as x != 0."""
    x = node.inputs[0]
    if x is None or T(c.attribute("to", 0)) is not T.BOOL:
        return None
    wide = c.cast(x, T.FLOAT)
    return [c.op("Not", c.op("Equal", wide, c.const(0, wide), dtype=T.BOOL))]


def to_few_bits(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """From a float, through int32."""
    x, target = node.inputs[0], T(c.attribute("to", 0))
    if x is None or target not in INTEGERS or bits(target) >= 8:
        return None
    return [c.cast(c.cast(x, T.INT32), target)]


def break_chain(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Puts an operator that changes nothing between two casts that the runtime would make one."""
    x, target = node.inputs[0], T(c.attribute("to", 0))
    first = x.producer() if x is not None else None
    if first is None or first.op_type != "Cast" or first.inputs[0] is None or target not in INTEGERS:
        return None
    assert x is not None
    assert x.dtype is not None
    if first.inputs[0].dtype not in FLOATS or bits(target) >= bits(x.dtype):
        return None
    if x.dtype is T.BFLOAT16:
        wide = c.cast(x, T.FLOAT)
        return [c.cast(c.op("Max", wide, wide), target)]
    return [c.cast(c.op("BitwiseAnd", x, x), target)]
