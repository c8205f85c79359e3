"""Exponentials, logarithms and hyperbolic functions of real numbers.

ONNX Runtime has float32 kernels for most of them and float64 kernels for a few, from which the others are composed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext, Rewriter

from ._plugin import plugin
from ._precision import in_float32


def _natural(ctx: LoweringContext, x: ir.Value, *, op_type: str, **_: Any) -> Any:
    return ctx.op(op_type, x)


for _primitive, _op_type in {
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
}.items():
    plugin.lowering(_primitive)(functools.partial(_natural, op_type=_op_type))


@plugin.lowering("exp2")
@in_float32
def _exp2(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return ctx.op.Exp(ctx.op.Mul(x, ctx.const(np.log(2), x)))


@plugin.lowering("log2")
@in_float32
def _log2(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return ctx.op.Mul(ctx.op.Log(x), ctx.const(1 / np.log(2), x))


@plugin.lowering("logistic")
def _logistic(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Sigmoid(x)
    # The kernel of Sigmoid has an absolute error of 6e-17: a wrong digit from x = -20 on.
    one = ctx.const(1, x)
    return ctx.op.Div(one, ctx.op.Add(one, ctx.op.Exp(ctx.op.Neg(x))))


@plugin.rewrite("Log")
def _log_sigmoid(rw: Rewriter, node: ir.Node) -> Any:
    """Log(Sigmoid(x)) -> min(x, 0) - log(1 + exp(-|x|)): kernels of Sigmoid end at x = -18, where it is 1e-8."""
    sigmoid = rw.producer(node.inputs[0], "Sigmoid")
    if sigmoid is None:
        return None
    (x,) = sigmoid.inputs
    assert x is not None
    decay = rw.op.Exp(rw.op.Neg(rw.op.Abs(x)))
    return rw.op.Sub(rw.op.Min(x, rw.const(0, x)), rw.op.Log(rw.op.Add(rw.const(1, x), decay)))


def expm1(ctx: LoweringContext, x: ir.Value) -> Any:
    """exp(x) - 1 without cancellation: 2t/(1 - t) with t = tanh(x/2) where that is small."""
    one, two = ctx.const(1, x), ctx.const(2, x)
    t = ctx.op.Tanh(ctx.op.Div(x, two))
    near = ctx.op.Div(ctx.op.Mul(two, t), ctx.op.Sub(one, t))
    is_near = ctx.op.Less(ctx.op.Abs(x), one)
    return ctx.op.Where(is_near, near, ctx.op.Sub(ctx.op.Exp(x), one))


def log1p(ctx: LoweringContext, x: ir.Value) -> Any:
    """log(1 + x), with what the sum lost added to first order: log(u) + (x - (u - 1))/u for u = 1 + x."""
    one = ctx.const(1, x)
    u = ctx.op.Add(one, x)
    lost = ctx.op.Div(ctx.op.Sub(x, ctx.op.Sub(u, one)), u)
    # It is at most a rounding error, but for the infinities at -1 and at infinity.
    is_small = ctx.op.Less(ctx.op.Abs(lost), one)
    return ctx.op.Add(ctx.op.Log(u), ctx.op.Where(is_small, lost, ctx.const(0, x)))


@plugin.lowering("expm1")
@in_float32
def _expm1(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return expm1(ctx, x)


@plugin.lowering("log1p")
@in_float32
def _log1p(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return log1p(ctx, x)


@plugin.lowering("sinh")
def _sinh(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Sinh(x)
    # 2t/(1 - t^2) with t = tanh(x/2) near zero, where the exponentials cancel.
    one, two = ctx.const(1, x), ctx.const(2, x)
    t = ctx.op.Tanh(ctx.op.Div(x, two))
    near = ctx.op.Div(ctx.op.Mul(two, t), ctx.op.Sub(one, ctx.op.Mul(t, t)))
    up, down = _half_exponentials(ctx, x)
    return ctx.op.Where(ctx.op.Less(ctx.op.Abs(x), one), near, ctx.op.Sub(up, down))


@plugin.lowering("cosh")
def _cosh(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Cosh(x)
    return ctx.op.Add(*_half_exponentials(ctx, x))


def _half_exponentials(ctx: LoweringContext, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """exp(x)/2 and exp(-x)/2, finite as long as they can be."""
    log_2 = ctx.const(np.log(2), x)
    return ctx.op.Exp(ctx.op.Sub(x, log_2)), ctx.op.Exp(ctx.op.Sub(ctx.op.Neg(x), log_2))


@plugin.lowering("asinh")
def _asinh(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Asinh(x)
    # log(a + sqrt(a^2 + 1)) for a = |x|; above 1e9 that is log(2a) to the last digit.
    one = ctx.const(1, x)
    magnitude = ctx.op.Abs(x)
    limited = ctx.op.Min(magnitude, ctx.const(1e9, x))
    square = ctx.op.Mul(limited, limited)
    excess = ctx.op.Div(square, ctx.op.Add(one, ctx.op.Sqrt(ctx.op.Add(square, one))))
    near = log1p(ctx, ctx.op.Add(limited, excess))
    result = ctx.op.Where(_is_huge(ctx, magnitude), _log_of_double(ctx, magnitude), near)
    return ctx.op.Where(ctx.op.Less(x, ctx.const(0, x)), ctx.op.Neg(result), result)


@plugin.lowering("acosh")
def _acosh(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Acosh(x)
    # log1p(t + sqrt(t(t + 2))) for t = x - 1.
    one = ctx.const(1, x)
    t = ctx.op.Sub(ctx.op.Min(x, ctx.const(1e9, x)), one)
    root = ctx.op.Sqrt(ctx.op.Mul(t, ctx.op.Add(t, ctx.const(2, x))))
    result = ctx.op.Where(_is_huge(ctx, x), _log_of_double(ctx, x), log1p(ctx, ctx.op.Add(t, root)))
    return ctx.op.Where(ctx.op.Less(x, one), ctx.const(np.nan, x), result)


def _is_huge(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Greater(x, ctx.const(1e9, x))


def _log_of_double(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Add(ctx.op.Log(x), ctx.const(np.log(2), x))


@plugin.lowering("atanh")
def _atanh(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Atanh(x)
    # log1p(2a/(1 - a))/2 for a = |x|.
    two = ctx.const(2, x)
    magnitude = ctx.op.Abs(x)
    ratio = ctx.op.Div(ctx.op.Mul(two, magnitude), ctx.op.Sub(ctx.const(1, x), magnitude))
    result = ctx.op.Div(log1p(ctx, ratio), two)
    return ctx.op.Where(ctx.op.Less(x, ctx.const(0, x)), ctx.op.Neg(result), result)
