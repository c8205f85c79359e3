"""Bitwise logic, shifts and bit counts on integers and booleans."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _logic(ctx: LoweringContext, *operands: ir.Value, op_type: str) -> Any:
    return ctx.op(op_type if ctx.dtype(operands[0]) == np.bool_ else f"Bitwise{op_type}", *operands)


for _primitive, _op_type in {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}.items():
    plugin.lowering(_primitive)(functools.partial(_logic, op_type=_op_type))


def unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned integer dtype of the same width."""
    return np.dtype(f"uint{width(dtype)}")


def width(dtype: np.dtype[Any]) -> int:
    """The bits of an element, which may be less than a byte."""
    info = ml_dtypes.iinfo if jnp.issubdtype(dtype, jnp.integer) else ml_dtypes.finfo
    return int(info(dtype).bits)


def _held_in(dtype: np.dtype[Any]) -> int:
    """The bits that XLA computes with: a byte for an int4, with copies of the sign; two for an int2."""
    return 8 if width(dtype) == 4 else width(dtype)


def shift(ctx: LoweringContext, x: ir.Value, amount: ir.Value | int, direction: str) -> Any:
    """Shift by zeros. An amount of the width or more, negative ones included, leaves nothing.

    ONNX shifts unsigned integers only (until opset 28).
    """
    dtype = ctx.dtype(x)
    bits = unsigned(dtype)
    amount = ctx.const(amount, dtype) if isinstance(amount, int) else amount
    return ctx.cast(ctx.op.BitShift(ctx.cast(x, bits), ctx.cast(amount, bits), direction=direction), dtype)


plugin.lowering("shift_left")(functools.partial(shift, direction="LEFT"))
plugin.lowering("shift_right_logical")(functools.partial(shift, direction="RIGHT"))


@plugin.lowering("shift_right_arithmetic")
def _shift_right_arithmetic(ctx: LoweringContext, x: ir.Value, amount: ir.Value) -> Any:
    # Copies of the sign come in from the left: for a set sign bit it is the complement that is filled with zeros.
    dtype = ctx.dtype(x)
    if jnp.issubdtype(dtype, jnp.unsignedinteger):  # XLA takes the highest bit for the sign of an unsigned integer too
        negative = ctx.op.GreaterOrEqual(x, ctx.const(1 << (width(dtype) - 1), dtype))
    else:
        negative = ctx.op.Less(x, ctx.const(0, dtype))
    shifted = shift(ctx, ctx.op.Where(negative, ctx.op.BitwiseNot(x), x), amount, "RIGHT")
    return ctx.op.Where(negative, ctx.op.BitwiseNot(shifted), shifted)


@plugin.lowering("population_count")
def _population_count(ctx: LoweringContext, x: ir.Value) -> Any:
    dtype = ctx.dtype(x)
    word = np.dtype(np.uint64 if dtype.itemsize == 8 else np.uint32)
    count = _count_ones(ctx, ctx.cast(ctx.cast(x, np.dtype(f"uint{_held_in(dtype)}")), word))
    return ctx.cast(count, dtype)


def _count_ones(ctx: LoweringContext, x: ir.Value) -> Any:
    """Sums of neighbouring groups of 1, 2 and 4 bits, then of bytes by one multiplication."""
    word = ctx.dtype(x)

    def repeated(byte: int) -> ir.Value:
        return ctx.const(int.from_bytes(bytes([byte]) * word.itemsize, "little"), word)

    x = ctx.op.Sub(x, ctx.op.BitwiseAnd(shift(ctx, x, 1, "RIGHT"), repeated(0x55)))
    pairs = ctx.op.BitwiseAnd(shift(ctx, x, 2, "RIGHT"), repeated(0x33))
    x = ctx.op.Add(ctx.op.BitwiseAnd(x, repeated(0x33)), pairs)
    x = ctx.op.BitwiseAnd(ctx.op.Add(x, shift(ctx, x, 4, "RIGHT")), repeated(0x0F))
    return shift(ctx, ctx.op.Mul(x, repeated(0x01)), width(word) - 8, "RIGHT")


@plugin.lowering("clz")
def _clz(ctx: LoweringContext, x: ir.Value) -> Any:
    dtype = ctx.dtype(x)
    word = np.dtype(np.uint64 if dtype.itemsize == 8 else np.uint32)
    x = ctx.cast(ctx.cast(x, unsigned(dtype)), word)
    step = 1
    while step < width(dtype):  # every bit below the highest one becomes 1
        x = ctx.op.BitwiseOr(x, shift(ctx, x, step, "RIGHT"))
        step *= 2
    return ctx.cast(ctx.op.Sub(ctx.const(width(dtype), word), _count_ones(ctx, x)), dtype)


@plugin.lowering("mulhi")
def _mulhi(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    """The upper half of a product of twice the width."""
    dtype = ctx.dtype(x)
    if dtype.itemsize == 8:
        return _mulhi_64(ctx, x, y)
    wide = np.dtype(np.uint64 if jnp.issubdtype(dtype, jnp.unsignedinteger) else np.int64)
    product = ctx.op.Mul(ctx.cast(x, wide), ctx.cast(y, wide))
    return ctx.cast(shift(ctx, product, _held_in(dtype), "RIGHT"), dtype)


def _mulhi_64(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    dtype, word, low = ctx.dtype(x), np.dtype(np.uint64), 0xFFFFFFFF

    def halves(value: ir.Value) -> tuple[ir.Value, ir.Value]:
        bits = ctx.cast(value, word)
        return ctx.op.BitwiseAnd(bits, ctx.const(low, word)), shift(ctx, bits, 32, "RIGHT")

    (x0, x1), (y0, y1) = halves(x), halves(y)
    # (x1 b + x0)(y1 b + y0) with b = 2**32: what the lower products carry into the upper half.
    middle = ctx.op.Add(ctx.op.Mul(x1, y0), shift(ctx, ctx.op.Mul(x0, y0), 32, "RIGHT"))
    carry = ctx.op.Add(ctx.op.Mul(x0, y1), ctx.op.BitwiseAnd(middle, ctx.const(low, word)))
    high = ctx.op.Add(ctx.op.Mul(x1, y1), shift(ctx, middle, 32, "RIGHT"))
    high = ctx.cast(ctx.op.Add(high, shift(ctx, carry, 32, "RIGHT")), dtype)
    if dtype.kind == "i":  # a negative factor was taken for itself plus 2**64
        zero = ctx.const(0, dtype)
        for sign, other in ((x, y), (y, x)):
            high = ctx.op.Sub(high, ctx.op.Where(ctx.op.Less(sign, zero), other, zero))
    return high
