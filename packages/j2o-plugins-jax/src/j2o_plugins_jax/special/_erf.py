"""The error function and its relatives: erf, erfc, erf_inv."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext, Rewriter

from .._plugin import plugin
from .._precision import in_float32
from ._interpolation import Interpolant


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


# For float64 and float32: erfc from 1/2 to where it vanishes, erf_inv in the middle and in the tails.
_ERFC_FAR = {
    np.float64: Interpolant(_scaled_erfc, 1 / (1 + 26.6 / 2), 1 / 1.25, 18),
    np.float32: Interpolant(_scaled_erfc, 1 / (1 + 10.2 / 2), 1 / 1.25, 8),
}
_ERF_INV_MIDDLE = {
    np.float64: Interpolant(_erf_inv_over_y, 0.0, 5.0, 18),
    np.float32: Interpolant(_erf_inv_over_y, 0.0, 5.0, 9),
}
_ERF_INV_TAIL = {
    np.float64: Interpolant(lambda s: _erf_inv_over_y(s * s), math.sqrt(5), math.sqrt(37), 24),
    np.float32: Interpolant(lambda s: _erf_inv_over_y(s * s), math.sqrt(5), math.sqrt(17), 9),
}


@plugin.lowering("erf")
def _erf(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Erf(x)


@plugin.lowering("erfc", ignores=("accuracy",))
def _erfc(ctx: LoweringContext, x: ir.Value) -> Any:
    # Kept as an operator of ours until the fusions are done: GELU is written with erfc.
    return ctx.op("j2o::Erfc", x)


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
    op, kind = ctx.op, ctx.dtype(y).type
    one, five = op.const(1, y), op.const(5, y)
    # -log(1 - y^2), with 1 - y^2 as a product that keeps its digits near 1.
    w = op.Neg(op.Log(op.Mul(op.Sub(one, y), op.Add(one, y))))
    middle = _ERF_INV_MIDDLE[kind](op, op.Min(w, five))
    tail = _ERF_INV_TAIL[kind](op, op.Sqrt(op.Clip(w, five, op.const(_ERF_INV_TAIL[kind].high ** 2, y))))
    # Both are finite but for NaN: products with 0 and 1 take a third of the time of a choice. At -1 and 1 it is a pole.
    in_middle, is_one = (ctx.cast(test, kind) for test in (op.Less(w, five), op.Equal(op.Abs(y), one)))
    over_y = op.Add(op.Mul(middle, in_middle), op.Mul(tail, op.Sub(one, in_middle)))
    return op.Div(op.Mul(y, over_y), op.Sub(one, is_one))
