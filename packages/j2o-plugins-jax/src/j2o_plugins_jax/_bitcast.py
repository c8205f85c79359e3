"""Bits reinterpreted as another dtype: bitcast_convert_type.

BitCast came with opset 26. Below it, the bits of a float are computed from its sign, exponent and significand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext, UnsupportedError

from ._bits import shift, unsigned, width
from ._comparisons import is_negative
from ._plugin import plugin


@plugin.lowering("bitcast_convert_type")
def _bitcast_convert_type(ctx: LoweringContext, x: ir.Value, *, new_dtype: Any) -> Any:
    old, new = ctx.dtype(x), np.dtype(new_dtype)
    if old == new:
        return x
    old_bits, new_bits = width(old), width(new)
    if old_bits == new_bits:
        return _same_width(ctx, x, new)
    # A change of width happens between unsigned integers, on an additional last axis.
    words = _same_width(ctx, x, _unsigned(old))
    words = _narrowed(ctx, words, _unsigned(new)) if old_bits > new_bits else _widened(ctx, words, _unsigned(new))
    return _same_width(ctx, words, new)


def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if width(dtype) < 8:
        raise UnsupportedError(
            f"bitcast_convert_type between {dtype.name} and a dtype of another width has no ONNX form: "
            f"its operators do not unpack 4-bit numbers. Use int8 and shifts."
        )
    return unsigned(dtype)


def _same_width(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> Any:
    old = ctx.dtype(x)
    if old == new:
        return x
    if "int" in old.name and "int" in new.name:
        return ctx.cast(x, new)  # wraps
    if ctx.opset >= 26 and _FLOAT8 not in (old, new):
        return ctx.op.BitCast(x, to=ir.DataType.from_numpy(new))
    if "int" not in old.name and "int" not in new.name:  # two floats of one width
        return _same_width(ctx, _same_width(ctx, x, unsigned(old)), new)
    if "int" in old.name:
        return _float_of_bits(ctx, x, new)
    return _bits_of_float(ctx, x, new)


def _narrowed(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> Any:
    """`[...]` to `[..., parts]`, lowest bits first."""
    dtype = ctx.dtype(x)
    shifts = np.arange(0, dtype.itemsize * 8, new.itemsize * 8).astype(dtype)
    x = ctx.op.Unsqueeze(x, ctx.const([-1], np.int64))
    return ctx.cast(ctx.op.BitShift(x, ctx.const(shifts), direction="RIGHT"), new)


def _widened(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> Any:
    """`[..., parts]` to `[...]`, lowest bits first."""
    dtype = ctx.dtype(x)

    def moved(part: int) -> Any:
        word = ctx.cast(ctx.op.Gather(x, ctx.const(part, np.int64), axis=-1), new)
        return shift(ctx, word, part * dtype.itemsize * 8, "LEFT")

    return functools.reduce(ctx.op.BitwiseOr, map(moved, range(new.itemsize // dtype.itemsize)))


@dataclass(frozen=True)
class _Format:
    """An IEEE binary format: how many bits of significand it stores, and its exponents.

    Attributes:
        bits: the width.
        stored: bits of the significand without the leading one.
        lowest: exponent of the smallest normal number.
    """

    bits: int
    stored: int
    lowest: int

    @property
    def exponents(self) -> int:
        """How many exponents normal numbers have."""
        return int(2 ** (self.bits - 1 - self.stored) - 2)


_FLOAT8 = np.dtype(ml_dtypes.float8_e5m2)  # the one of its width that is IEEE's; ONNX Runtime's BitCast has none
_FORMATS = {
    "float8_e5m2": _Format(8, 2, -14),
    "float16": _Format(16, 10, -14),
    "bfloat16": _Format(16, 7, -126),
    "float32": _Format(32, 23, -126),
    "float64": _Format(64, 52, -1022),
}


def _format(dtype: np.dtype[Any]) -> _Format:
    if dtype.name not in _FORMATS:
        raise UnsupportedError(
            f"bitcast_convert_type of {dtype.name} needs ONNX's BitCast, which came with opset 26. Export at 26."
        )
    return _FORMATS[dtype.name]


def _float_of_bits(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> Any:
    """Significand * 2**exponent in float64, which holds every step exactly (in two factors for float64 itself)."""
    form = _format(new)
    x = ctx.cast(x, unsigned(new))
    low, high = (int(bound) >> form.stored for bound in ctx.range(x)[:2])
    if low == high and 0 < low <= form.exponents:
        return _float_of_fraction(ctx, x, new, low)
    word = np.dtype(np.int64)
    bits = ctx.cast(x, word)
    fraction = ctx.op.BitwiseAnd(bits, ctx.const((1 << form.stored) - 1, word))
    largest = form.exponents + 1
    field = ctx.op.BitwiseAnd(shift(ctx, bits, form.stored, "RIGHT"), ctx.const(largest, word))
    is_normal = ctx.op.Greater(field, ctx.const(0, word))
    implicit = ctx.op.Where(is_normal, ctx.const(1 << form.stored, word), ctx.const(0, word))
    significand = ctx.cast(ctx.op.Add(fraction, implicit), np.float64)
    # The last exponent field is that of infinity and NaN; the first shares the lowest exponent with the second.
    scales = [form.lowest + max(exponent, 1) - 1 for exponent in range(largest)]
    first = np.append(np.ldexp(1.0, scales) if form.bits < 64 else np.ldexp(1.0, [s // 2 for s in scales]), np.inf)
    magnitude = ctx.op.Mul(significand, ctx.op.Gather(ctx.const(first), field, axis=0))
    if form.bits < 64:
        unit = ctx.const(2.0**-form.stored, np.float64)
    else:
        rest = np.ldexp(1.0, [s - s // 2 - form.stored for s in [*scales, 0]])
        unit = ctx.op.Gather(ctx.const(rest), field, axis=0)
    magnitude = ctx.op.Mul(magnitude, unit)
    is_nan = ctx.op.And(ctx.op.Equal(field, ctx.const(largest, word)), ctx.op.Greater(fraction, ctx.const(0, word)))
    magnitude = ctx.op.Where(is_nan, ctx.const(np.nan, np.float64), magnitude)
    sign = ctx.op.BitwiseAnd(shift(ctx, bits, form.bits - 1, "RIGHT"), ctx.const(1, word))
    negative = ctx.op.Equal(sign, ctx.const(1, word))
    result = ctx.op.Where(negative, ctx.op.Neg(magnitude), magnitude)
    return ctx.cast(ctx.cast(result, np.float32) if form.bits == 8 else result, new)


def _float_of_fraction(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any], field: int) -> ir.Value:
    """Positive normal numbers of one exponent, as `jax.random.uniform` makes them: 1 and a fraction, scaled."""
    form = _format(new)
    wide = np.dtype(np.float64 if form.bits == 64 else np.float32)
    fraction = ctx.cast(ctx.op.Sub(x, ctx.const(field << form.stored, ctx.dtype(x))), wide)
    number = ctx.op.Add(ctx.op.Mul(fraction, ctx.const(2.0**-form.stored, wide)), ctx.const(1, wide))
    exponent = form.lowest + field - 1
    return ctx.cast(ctx.op.Mul(number, ctx.const(2.0**exponent, wide)), new)


def _bits_of_float(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> Any:
    """The fields put together from the exact exponent. Every NaN has the bits of the quiet one."""
    form = _format(ctx.dtype(x))
    word = np.dtype(np.int64)
    zero = ctx.const(0.0, np.float64)
    x = ctx.cast(x, np.float64)
    is_nan, magnitude = ctx.op.IsNaN(x), ctx.op.Abs(x)
    is_infinite = ctx.op.Equal(magnitude, ctx.const(np.inf, np.float64))
    finite = ctx.op.Where(ctx.op.Or(is_nan, is_infinite), zero, magnitude)
    index = _exponent_index(ctx, finite, form)
    # magnitude / 2**exponent * 2**stored is the significand; below the normal numbers the exponent stays the lowest.
    scales = np.array([form.stored - form.lowest - i for i in range(form.exponents)])
    significand = finite
    for part in (scales // 2, scales - scales // 2) if form.bits == 64 else (scales,):
        significand = ctx.op.Mul(significand, ctx.op.Gather(ctx.const(np.ldexp(1.0, part)), index, axis=0))
    field = ctx.op.Mul(index, ctx.const(1 << form.stored, word))
    bits = ctx.op.Add(ctx.cast(significand, word), field)
    infinity = (form.exponents + 1) << form.stored
    bits = ctx.op.Where(is_infinite, ctx.const(infinity, word), bits)
    bits = ctx.op.Where(is_nan, ctx.const(infinity | 1 << (form.stored - 1), word), bits)
    sign = np.array(1 << (form.bits - 1), np.uint64).astype(np.int64)
    bits = ctx.op.Where(is_negative(ctx, x), ctx.op.BitwiseOr(bits, ctx.const(sign)), bits)
    return ctx.cast(bits, new)


def _exponent_index(ctx: LoweringContext, magnitude: ir.Value, form: _Format) -> Any:
    """The exponent counted from the lowest one: a logarithm, corrected by comparing with powers of two."""
    last = form.exponents - 1
    safe = ctx.op.Max(magnitude, ctx.const(2.0**form.lowest, np.float64))
    guess = ctx.op.Floor(ctx.op.Mul(ctx.op.Log(safe), ctx.const(1 / np.log(2), np.float64)))
    guess = ctx.op.Sub(ctx.cast(guess, np.int64), ctx.const(form.lowest, np.int64))
    guess = ctx.op.Clip(guess, ctx.const(0, np.int64), ctx.const(last, np.int64))
    powers = ctx.const(np.ldexp(1.0, np.arange(form.lowest, form.lowest + form.exponents)))
    too_high = ctx.op.Less(safe, ctx.op.Gather(powers, guess, axis=0))
    guess = ctx.op.Sub(guess, ctx.cast(too_high, np.int64))
    following = ctx.op.Min(ctx.op.Add(guess, ctx.const(1, np.int64)), ctx.const(last, np.int64))
    reached = ctx.op.GreaterOrEqual(safe, ctx.op.Gather(powers, following, axis=0))
    return ctx.op.Where(reached, following, guess)
