"""Trigonometric functions of real numbers and their inverses."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin
from ._precision import in_float32


def _natural(ctx: LoweringContext, x: ir.Value, *, op_type: str, **_: Any) -> Any:
    return ctx.op(op_type, x)


for _primitive, _op_type in {"sin": "Sin", "cos": "Cos"}.items():
    plugin.lowering(_primitive)(functools.partial(_natural, op_type=_op_type))


@plugin.lowering("tan")
def _tan(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Tan(x)
    return ctx.op.Div(ctx.op.Sin(x), ctx.op.Cos(x))


@plugin.lowering("atan")
def _atan(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return atan(ctx, x)


def atan(ctx: LoweringContext, x: ir.Value) -> Any:
    """The inverse tangent. In float64, where runtimes have no kernel, one exact step from the float32 result.

    atan(x) = y + atan((x cos y - sin y)/(cos y + x sin y)) for every y. For y good to 1e-7 the last atan is its
    argument to 1e-21.
    """
    if ctx.dtype(x) != np.float64:
        return ctx.op.Atan(x)
    # Beyond 1e30 the angle is pi/2 to the last digit, and float32 still holds the number.
    x = ctx.op.Max(ctx.op.Min(x, ctx.const(1e30, x)), ctx.const(-1e30, x))
    y = ctx.cast(ctx.op.Atan(ctx.cast(x, np.float32)), np.float64)
    sine, cosine = ctx.op.Sin(y), ctx.op.Cos(y)
    rest = ctx.op.Sub(ctx.op.Mul(x, cosine), sine)
    return ctx.op.Add(y, ctx.op.Div(rest, ctx.op.Add(cosine, ctx.op.Mul(x, sine))))


@plugin.lowering("asin")
def _asin(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Asin(x)
    one = ctx.const(1, x)  # atan(x/sqrt((1 - x)(1 + x)))
    cosine = ctx.op.Sqrt(ctx.op.Mul(ctx.op.Sub(one, x), ctx.op.Add(one, x)))
    return atan(ctx, ctx.op.Div(x, cosine))


@plugin.lowering("acos")
def _acos(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Acos(x)
    one = ctx.const(1, x)  # 2 atan(sqrt((1 - x)/(1 + x)))
    root = ctx.op.Sqrt(ctx.op.Div(ctx.op.Sub(one, x), ctx.op.Add(one, x)))
    return ctx.op.Mul(ctx.const(2, x), atan(ctx, root))


@plugin.lowering("atan2")
@in_float32
def _atan2(ctx: LoweringContext, y: ir.Value, x: ir.Value) -> Any:
    """The angle of (x, y), from the one in the first quadrant. Zeros count with their signs."""
    height, width = ctx.op.Abs(y), ctx.op.Abs(x)
    # Two zeros make the angle 0, two infinities pi/4; their quotient is NaN.
    equal = ctx.op.Equal(height, width)
    angle = atan(ctx, ctx.op.Where(equal, ctx.op.Sign(height), ctx.op.Div(height, width)))
    angle = ctx.op.Where(is_negative(ctx, x), ctx.op.Sub(ctx.const(np.pi, x), angle), angle)
    return ctx.op.Where(is_negative(ctx, y), ctx.op.Neg(angle), angle)


def is_negative(ctx: LoweringContext, x: ir.Value) -> Any:
    """Whether the sign bit is set, for all but NaN: x + 1/x has the sign of x, of zeros and infinities too."""
    return ctx.op.Less(ctx.op.Add(x, ctx.op.Reciprocal(x)), ctx.const(0, x))
