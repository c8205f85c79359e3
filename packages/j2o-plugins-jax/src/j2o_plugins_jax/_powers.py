"""Powers, polynomials and roots: square, sqrt, rsqrt, cbrt, integer_pow, pow."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._natural import natural
from ._plugin import plugin
from ._precision import in_float32


@plugin.lowering("square")
def _square(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Mul(x, x)


@plugin.lowering("one_minus_square")
def _one_minus_square(ctx: LoweringContext, x: ir.Value) -> Any:
    # (1 + x)(1 - x) keeps the digits that 1 - x*x loses near 1.
    one = ctx.const(1, x)
    return ctx.op.Mul(ctx.op.Add(one, x), ctx.op.Sub(one, x))


plugin.lowering("sqrt", ignores=("accuracy",))(natural("Sqrt"))


@plugin.lowering("rsqrt", ignores=("accuracy",))
def _rsqrt(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Reciprocal(ctx.op.Sqrt(x))


@plugin.lowering("cbrt", ignores=("accuracy",))
@in_float32
def _cbrt(ctx: LoweringContext, x: ir.Value) -> Any:
    # |x|**(1/3), and one step of Newton's method for the digits that the rounded exponent costs in extreme magnitudes.
    zero, three = ctx.const(0, x), ctx.const(3, x)
    magnitude = ctx.op.Abs(x)
    root = ctx.op.Pow(magnitude, ctx.const(1 / 3, x))
    error = ctx.op.Sub(root, ctx.op.Div(magnitude, ctx.op.Mul(root, root)))
    is_ordinary = ctx.op.And(ctx.op.Greater(magnitude, zero), ctx.op.Less(magnitude, ctx.const(np.inf, x)))
    root = ctx.op.Sub(root, ctx.op.Where(is_ordinary, ctx.op.Div(error, three), zero))
    root = ctx.op.Where(ctx.op.Less(x, zero), ctx.op.Neg(root), root)
    return ctx.op.Where(ctx.op.Greater(magnitude, zero), root, x)  # zeros keep their sign


@plugin.lowering("pow")
def _pow(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    # JAX's bases are floats; an integer exponent is converted first, as XLA does it.
    return ctx.op.Pow(x, ctx.cast(y, ctx.dtype(x)))


@plugin.lowering("integer_pow")
def _integer_pow(ctx: LoweringContext, x: ir.Value, *, y: int) -> Any:
    # Repeated squaring, as XLA does it: Pow is not exact on integers.
    if y == 0:
        return ctx.expand(ctx.const(1, x), ctx.avals_out[0].shape)
    exponent, power, result = abs(y), x, None
    while exponent:
        if exponent & 1:
            result = power if result is None else ctx.op.Mul(result, power)
        exponent >>= 1
        if exponent:
            power = ctx.op.Mul(power, power)
    assert result is not None
    return ctx.op.Reciprocal(result) if y < 0 else result


@plugin.decomposition("polynomial", ignores=("unroll",))  # how many terms XLA unrolls
def _polynomial(x: Any, *coefficients: Any) -> Any:
    """Horner's rule, as XLA does it; the coefficients come from the lowest degree up."""
    *lower, result = coefficients
    for coefficient in reversed(lower):
        result = result * x + coefficient
    return result
