"""Casts that the runtime gets wrong: chains that it makes one, to float8, of -0 to bool, of floats to 4 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ...target import FLOAT8, FLOATS, INTEGERS, bits, cast_attributes
from .._composer import Composer

T = ir.DataType

# Numbers that round to more than the largest value: the kernel makes them the largest (E4M3FN) or NaN (E5M2).
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


def round_twice(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """From float64 to float8, as a float32 number that is on the same side of each middle between two numbers.

    Such a middle has at most 5 bits: x as bfloat16 is one, or on the same side, and a 1024th more or less tells which.
    """
    x, target = node.inputs[0], T(c.attribute("to", 0))
    if x is None or x.dtype is not T.DOUBLE or target not in (*FLOAT8, T.FLOAT8E8M0):
        return None
    few = c.cast(c.cast(x, T.BFLOAT16), T.DOUBLE)
    sizes = [c.op("Abs", value) for value in (x, few)]
    above, below = (c.op(op_type, *sizes, dtype=T.BOOL) for op_type in ("Greater", "Less"))
    rest = c.op("Where", below, c.const(1 - 2**-10, x), c.const(1.0, x), dtype=T.DOUBLE)
    rest = c.op("Where", above, c.const(1 + 2**-10, x), rest, dtype=T.DOUBLE)
    single = c.cast(c.op("Mul", few, rest), T.FLOAT)
    given = {name: c.attribute(name, None) for name in node.attributes}
    return [c.op("Cast", single, dtype=target, shape=x.shape, **given)]


def to_powers(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """To the nearest number of E8M0: up to 1.5 * 2^127 it is 2^127, and below 2^-126 it is that or 2^-127."""
    x, target = node.inputs[0], T(c.attribute("to", 0))
    if x is None or target is not T.FLOAT8E8M0 or c.attribute("round_mode", "up") != "nearest":
        return None
    wide = c.cast(x, T.FLOAT)
    least, most = (c.const(number, wide) for number in (1.5 * 2.0**-127, 1.5 * 2.0**127))
    enough = c.op("GreaterOrEqual", wide, least, dtype=T.BOOL)
    inside = c.op("And", enough, c.op("Less", wide, most, dtype=T.BOOL), dtype=T.BOOL)
    clipped = c.op("Clip", wide, *(c.const(number, wide) for number in (2.0**-126, 2.0**127)))
    positive = c.op("Greater", wide, c.const(0, wide), dtype=T.BOOL)
    tiny = c.op("Where", positive, c.op("Max", wide, c.const(2.0**-127, wide)), wide, dtype=T.FLOAT)
    guarded = c.op("Where", inside, clipped, tiny, dtype=T.FLOAT)
    return [c.op("Cast", guarded, dtype=target, trusted=True, to=int(target), **cast_attributes(target))]


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
    """Puts a Reshape to the same shape between two casts that the runtime would make one."""
    x, target = node.inputs[0], T(c.attribute("to", 0))
    first = x.producer() if x is not None else None
    if first is None or first.op_type != "Cast" or first.inputs[0] is None or target not in INTEGERS:
        return None
    assert x is not None
    assert x.dtype is not None
    if first.inputs[0].dtype not in FLOATS or bits(target) >= bits(x.dtype):
        return None
    return [c.op("Cast", c.apart(x), dtype=target, shape=node.outputs[0].shape, trusted=True, to=int(target))]
