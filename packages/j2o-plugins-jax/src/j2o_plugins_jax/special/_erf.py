"""The error function and its relatives: erf, erfc, erf_inv."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext, Rewriter

from .._natural import natural
from .._plugin import plugin
from .._precision import in_float32
from ._interpolation import Interpolant, horner


def _scaled_erfc(t: float) -> float:
    """exp(x^2) erfc(x)/t for t = 1/(1 + x/2), in which it is smooth up to infinity."""
    x = 2 * (1 / t - 1)
    return math.exp(x * x) * math.erfc(x) / t


def _erf_inv_over_y(w: float) -> float:
    """erf_inv(y)/y for w = -log(1 - y^2)."""
    if w < 1e-10:
        return math.sqrt(math.pi) / 2
    y = math.sqrt(-math.expm1(-w))
    upper_tail = math.exp(-w) / (1 + y) / 2
    return -statistics.NormalDist().inv_cdf(upper_tail) / math.sqrt(2) / y


# erfc from 1/2 to where it vanishes.
_ERFC_FAR = {
    np.float64: Interpolant(_scaled_erfc, 1 / (1 + 26.6 / 2), 1 / 1.25, 18),
    np.float32: Interpolant(_scaled_erfc, 1 / (1 + 10.2 / 2), 1 / 1.25, 8),
}
# erf_inv(y)/y of float64 over w, in the middle and in the tails.
_ERF_INV_MIDDLE = Interpolant(_erf_inv_over_y, 0.0, 5.0, 18)
_ERF_INV_TAIL = Interpolant(lambda s: _erf_inv_over_y(s * s), math.sqrt(5), math.sqrt(37), 24)
# Of float32 over -w, for w up to 17: a quotient of polynomials, fitted by least squares of its relative error, which is
# at most 2.2e-8. All terms of each have one sign.
_ERF_INV_ABOVE = (-718221.627, 249809.422, -48661.0526, 6345.34124, -525.669435, 19.0932998)
_ERF_INV_BELOW = (-810426.303, 69711.1179, -26094.2246, 1558.68425, -143.250597, 1.0)


plugin.lowering("erf")(natural("Erf"))
# Kept as an operator of ours until the fusions are done: GELU is written with erfc.
plugin.lowering("erfc", ignores=("accuracy",))(natural("j2o::Erfc"))


@plugin.rewrite("j2o::Erfc", late=True)
def _expand_erfc(rw: Rewriter, node: ir.Node) -> Any:
    (x,) = node.inputs
    assert x is not None
    op, dtype = rw.op, x.dtype
    if dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return _erfc_of(op, x)
    return op.Cast(_erfc_of(op, op.Cast(x, to=ir.DataType.FLOAT)), to=dtype)


def _erfc_of(op: Any, x: ir.Value) -> Any:
    """1 - erf(x) below 1/2; above, where that cancels, exp(-x^2) times an interpolated factor."""
    magnitude, zero, one = op.Abs(x), op.const(0, x), op.const(1, x)
    far = _erfc_far(op, magnitude)
    far = op.Where(op.Less(x, zero), op.Sub(op.const(2, x), far), far)
    return op.Where(op.Less(magnitude, op.const(0.5, x)), op.Sub(one, op.Erf(x)), far)


def _erfc_far(op: Any, x: ir.Value) -> Any:
    """erfc(x) for x of 1/2 and more."""
    assert x.dtype is not None
    factor = _ERFC_FAR[x.dtype.numpy().type]
    one = op.const(1, x)
    t = op.Div(one, op.Add(one, op.Mul(x, op.const(0.5, x))))
    t = op.Max(t, op.const(factor.low, x))  # beyond it erfc is zero
    return op.Mul(op.Exp(op.Neg(op.Mul(x, x))), op.Mul(t, factor(op, t)))


@plugin.lowering("erf_inv")
@in_float32
def _erf_inv(ctx: LoweringContext, y: ir.Value) -> Any:
    op, one = ctx.op, ctx.op.const(1, y)
    # XLA rounds y^2 as well. The product of 1 - y and 1 + y keeps more digits near 1, which JAX's results lack.
    log = op.Log(op.Sub(one, op.Mul(y, y)))
    span = ctx.range(y)
    has_poles = span.low <= -1 or span.high >= 1  # which numbers of `jax.random` are not
    over_y = _over_y_double(ctx, op.Neg(log)) if ctx.dtype(y) == np.float64 else _over_y_single(ctx, log, has_poles)
    result = op.Mul(y, over_y)
    return op.Div(result, op.Sub(one, ctx.cast(op.Equal(op.Abs(y), one), ctx.dtype(y)))) if has_poles else result


def _over_y_single(ctx: LoweringContext, log: ir.Value, has_poles: bool) -> Any:
    log = ctx.op.Max(log, ctx.op.const(-17, log)) if has_poles else log
    return ctx.op.Div(horner(ctx.op, _ERF_INV_ABOVE, log), horner(ctx.op, _ERF_INV_BELOW, log))


def _over_y_double(ctx: LoweringContext, w: ir.Value) -> Any:
    op, one, five = ctx.op, ctx.op.const(1, w), ctx.op.const(5, w)
    middle = _ERF_INV_MIDDLE(op, op.Min(w, five))
    tail = _ERF_INV_TAIL(op, op.Sqrt(op.Clip(w, five, op.const(37, w))))
    # Both are finite but for NaN: products with 0 and 1 take a third of the time of a choice.
    in_middle = ctx.cast(op.Less(w, five), np.float64)
    return op.Add(op.Mul(middle, in_middle), op.Mul(tail, op.Sub(one, in_middle)))
