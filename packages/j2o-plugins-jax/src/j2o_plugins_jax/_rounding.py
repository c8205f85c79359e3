"""Rounding and the neighbourhood of floats: floor, ceil, round, is_finite, nextafter, reduce_precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir
from jax import lax

from j2o_core import LoweringContext

from ._comparisons import is_negative
from ._folding import has_infinity
from ._natural import natural
from ._plugin import plugin

plugin.lowering("floor")(natural("Floor"))
plugin.lowering("ceil")(natural("Ceil"))


@plugin.lowering("round")
def _round(ctx: LoweringContext, x: ir.Value, *, rounding_method: Any) -> Any:
    if rounding_method == lax.RoundingMethod.TO_NEAREST_EVEN:
        return ctx.op.Round(x)
    # Away from zero. Not floor(|x| + 0.5), whose sum rounds; |x| - floor(|x|) is exact.
    magnitude = ctx.op.Abs(x)
    whole = ctx.op.Floor(magnitude)
    up = ctx.op.GreaterOrEqual(ctx.op.Sub(magnitude, whole), ctx.const(0.5, x))
    rounded = ctx.op.Where(up, ctx.op.Add(whole, ctx.const(1, x)), whole)
    return ctx.op.Where(is_negative(ctx, x), ctx.op.Neg(rounded), rounded)


@plugin.lowering("is_finite")
def _is_finite(ctx: LoweringContext, x: ir.Value) -> Any:
    if not has_infinity(ctx.dtype(x)):
        return ctx.op.Equal(x, x)
    # NaN is not less than anything.
    return ctx.op.Less(ctx.op.Abs(x), ctx.const(np.inf, x))


def _word(dtype: Any) -> Any:
    return np.dtype(f"int{np.dtype(dtype).itemsize * 8}")


@plugin.lowering("nextafter")
def _nextafter(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    return ctx.lower_fun(_next_float, x, y)


def _next_float(x: jax.Array, y: jax.Array) -> jax.Array:
    """Floats of one sign are ordered as their bits: the neighbour is one bit pattern away."""
    word = _word(x.dtype)
    bits, lowest = lax.bitcast_convert_type(x, word), jnp.iinfo(word).min
    from_zero = jnp.where(y < 0, jnp.array(lowest | 1, word), jnp.array(1, word))
    outwards = (x < y) == (x > 0)
    step = jnp.where(outwards, jnp.array(1, word), jnp.array(-1, word))
    moved = jnp.where(x == 0, from_zero, bits + step)
    result = jnp.where(x == y, y, lax.bitcast_convert_type(moved, x.dtype))
    return jnp.where(jnp.isnan(x) | jnp.isnan(y), jnp.array(np.nan, x.dtype), result)


@plugin.lowering("reduce_precision")
def _reduce_precision(ctx: LoweringContext, x: ir.Value, *, exponent_bits: int, mantissa_bits: int) -> Any:
    info = ml_dtypes.finfo(ctx.dtype(x))
    if mantissa_bits >= info.nmant and exponent_bits >= info.nexp:
        return x
    return ctx.lower_fun(_rounded_to, x, exponent_bits=exponent_bits, mantissa_bits=mantissa_bits)


def _rounded_to(x: jax.Array, *, exponent_bits: int, mantissa_bits: int) -> jax.Array:
    """The nearest float with so few bits, ties to even. Below the normal numbers is zero, above them infinity."""
    info, word = ml_dtypes.finfo(x.dtype), _word(x.dtype)
    bits = lax.bitcast_convert_type(x, word)
    dropped = info.nmant - mantissa_bits
    if dropped > 0:
        odd = lax.shift_right_logical(bits, jnp.array(dropped, word)) & jnp.array(1, word)
        bits = bits + (odd + jnp.array((1 << (dropped - 1)) - 1, word))
        bits = bits & jnp.array(-(1 << dropped), word)
    rounded = lax.bitcast_convert_type(bits, x.dtype)
    if exponent_bits < info.nexp:
        bias = (1 << (exponent_bits - 1)) - 1
        overflow, smallest = np.ldexp(1.0, bias + 1), np.ldexp(1.0, 1 - bias)
        zero = jnp.zeros((), x.dtype)
        signed_zero, infinity = lax.mul(lax.sign(x), zero), lax.sign(x) * jnp.array(np.inf, x.dtype)
        # The second operand is the one whose zeros keep their sign in ONNX Runtime.
        rounded = jnp.where(jnp.abs(rounded) >= jnp.array(smallest, x.dtype), rounded, signed_zero)
        rounded = jnp.where(jnp.abs(rounded) >= jnp.array(overflow, x.dtype), infinity, rounded)
    return jnp.where(jnp.isnan(x) | jnp.isinf(x), x, rounded)
