"""Cumulative reductions: cumsum, cumprod, cummax, cummin, cumlogsumexp."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._folding import Values, highest, lowest, prefixes
from ._plugin import plugin
from ._precision import in_float32


@plugin.lowering("cumsum")
def _cumsum(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> Any:
    return ctx.op.CumSum(x, ctx.const(axis, np.int64), reverse=int(reverse))


@plugin.lowering("cumprod", opset=26)
def _cumprod_26(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> Any:
    return ctx.op.CumProd(x, ctx.const(axis, np.int64), reverse=int(reverse))


def _prefixes(ctx: LoweringContext, x: ir.Value, *, op_type: str, identity: Any, axis: int, reverse: bool) -> Any:
    def combine(ctx: LoweringContext, left: Values, right: Values) -> Values:
        return [ctx.op(op_type, *left, *right)]

    neutral = ctx.const(identity(ctx.dtype(x)), x)
    return prefixes(ctx, [x], ctx.avals_in[0].shape, axis, combine, [neutral], reverse=reverse)[0]


plugin.lowering("cumprod")(functools.partial(_prefixes, op_type="Mul", identity=lambda dtype: 1))
plugin.lowering("cummax")(functools.partial(_prefixes, op_type="Max", identity=lowest))
plugin.lowering("cummin")(functools.partial(_prefixes, op_type="Min", identity=highest))


@plugin.lowering("cumlogsumexp")
@in_float32
def _cumlogsumexp(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> Any:
    def combine(ctx: LoweringContext, left: Values, right: Values) -> Values:
        # max(a, b) + log(1 + exp(-|a - b|)), where a - b is 0 for two equal infinities too.
        (a,), (b,) = left, right
        difference = ctx.op.Where(ctx.op.Equal(a, b), ctx.const(0, x), ctx.op.Sub(a, b))
        ratio = ctx.op.Exp(ctx.op.Neg(ctx.op.Abs(difference)))
        return [ctx.op.Add(ctx.op.Max(a, b), ctx.op.Log(ctx.op.Add(ratio, ctx.const(1, x))))]

    neutral = ctx.const(-np.inf, x)
    return prefixes(ctx, [x], ctx.avals_in[0].shape, axis, combine, [neutral], reverse=reverse)[0]
