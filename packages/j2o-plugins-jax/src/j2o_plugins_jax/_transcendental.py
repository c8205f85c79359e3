"""Exponentials, logarithms, trigonometric and hyperbolic functions of real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext, Rewriter

from ._comparisons import is_negative
from ._natural import natural
from ._plugin import plugin
from ._precision import in_float32

for _primitive in (
    *("exp", "log", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
):
    # JAX's `accuracy` chooses between kernels of a device; ONNX leaves that to the runtime.
    plugin.lowering(_primitive, ignores=("accuracy",))(natural(_primitive.capitalize()))


# The factor in the dtype of x, as XLA has it: bfloat16 results depend on how it is rounded.


@plugin.lowering("exp2", ignores=("accuracy",))
def _exp2(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Exp(ctx.op.Mul(x, ctx.const(np.log(2), x)))


@plugin.lowering("log2", ignores=("accuracy",))
def _log2(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Mul(ctx.op.Log(x), ctx.const(1 / np.log(2), x))


@plugin.lowering("logistic", ignores=("accuracy",))
def _logistic(ctx: LoweringContext, x: ir.Value) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Sigmoid(x)
    # ONNX Runtime's Sigmoid has an absolute error of 6e-17: a wrong digit from x = -20 on.
    one = ctx.const(1, x)
    return ctx.op.Div(one, ctx.op.Add(one, ctx.op.Exp(ctx.op.Neg(x))))


@plugin.rewrite("Log")
def _log_sigmoid(rw: Rewriter, node: ir.Node) -> Any:
    """Log(Sigmoid(x)) -> min(x, 0) - log(1 + exp(-|x|)): ONNX Runtime's Sigmoid ends at x = -18, where it is 1e-8."""
    x = rw.operand_of(node.inputs[0], "Sigmoid")
    if x is None:
        return None
    decay = rw.op.Exp(rw.op.Neg(rw.op.Abs(x)))
    return rw.op.Sub(rw.op.Min(x, rw.const(0, x)), rw.op.Log(rw.op.Add(rw.const(1, x), decay)))


@plugin.lowering("expm1", ignores=("accuracy",))
@in_float32
def _expm1(ctx: LoweringContext, x: ir.Value) -> Any:
    # exp(x) - 1 cancels near zero. There it is 2t/(1 - t) with t = tanh(x/2).
    one, two = ctx.const(1, x), ctx.const(2, x)
    t = ctx.op.Tanh(ctx.op.Div(x, two))
    near = ctx.op.Div(ctx.op.Mul(two, t), ctx.op.Sub(one, t))
    # The second operand is the one whose zeros keep their sign in ONNX Runtime.
    is_far = ctx.op.GreaterOrEqual(ctx.op.Abs(x), one)
    return ctx.op.Where(is_far, ctx.op.Sub(ctx.op.Exp(x), one), near)


@plugin.lowering("log1p", ignores=("accuracy",))
@in_float32
def _log1p(ctx: LoweringContext, x: ir.Value) -> Any:
    # x log(u) / (u - 1) for u = 1 + x: what the sum lost, the difference has lost too (Kahan). As a product it keeps
    # the sign of a zero, which decides on the infinity where something is divided by it.
    one = ctx.const(1, x)
    u = ctx.op.Add(one, x)
    difference = ctx.op.Sub(u, one)
    finite = ctx.op.Min(difference, ctx.const(np.finfo(ctx.dtype(x)).max, x))
    ratio = ctx.op.Where(ctx.op.Equal(difference, ctx.const(0, x)), one, ctx.op.Div(ctx.op.Log(u), finite))
    return ctx.op.Mul(x, ratio)


@plugin.lowering("atan2")
@in_float32
def _atan2(ctx: LoweringContext, y: ir.Value, x: ir.Value) -> Any:
    """The angle of (x, y), from the one in the first quadrant. Zeros count with their signs."""
    height, width = ctx.op.Abs(y), ctx.op.Abs(x)
    # Two zeros make the angle 0, two infinities pi/4; their quotient is NaN.
    equal = ctx.op.Equal(height, width)
    angle = ctx.op.Atan(ctx.op.Where(equal, ctx.op.Sign(height), ctx.op.Div(height, width)))
    angle = ctx.op.Where(is_negative(ctx, x), ctx.op.Sub(ctx.const(np.pi, x), angle), angle)
    return ctx.op.Where(is_negative(ctx, y), ctx.op.Neg(angle), angle)
