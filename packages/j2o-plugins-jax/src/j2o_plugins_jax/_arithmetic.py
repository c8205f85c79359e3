"""Arithmetic on numbers of every dtype: add, sub, mul, div, rem, max, min, clamp, neg, abs, sign."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._natural import natural
from ._plugin import plugin

for _primitive, _op_type in {"add": "Add", "add_any": "Add", "sub": "Sub", "abs": "Abs"}.items():
    plugin.lowering(_primitive)(natural(_op_type))


@plugin.lowering("mul")
def _mul(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, out_dtype: Any = None) -> Any:
    if out_dtype is not None:  # of JAX 0.12; XLA too converts the operands
        x, y = ctx.cast(x, out_dtype), ctx.cast(y, out_dtype)
    return ctx.op.Mul(x, y)


def _extremum(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, op_type: str, bool_op_type: str) -> Any:
    return ctx.op(bool_op_type if ctx.dtype(x) == np.bool_ else op_type, x, y)


plugin.lowering("max")(functools.partial(_extremum, op_type="Max", bool_op_type="Or"))
plugin.lowering("min")(functools.partial(_extremum, op_type="Min", bool_op_type="And"))


@plugin.lowering("div")
def _div(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    if not jnp.issubdtype(ctx.dtype(x), jnp.integer):
        return ctx.op.Div(x, y)
    divisor = _safe_divisor(ctx, x, y)
    quotient = ctx.op.Div(x, divisor)
    if divisor is y:
        return quotient
    # XLA's result of a division by zero: all bits set.
    all_ones = np.array(-1).astype(ctx.dtype(x))
    return ctx.op.Where(ctx.op.Equal(y, ctx.const(0, y)), ctx.const(all_ones), quotient)


@plugin.lowering("rem")
def _rem(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    if not jnp.issubdtype(ctx.dtype(x), jnp.integer):
        return ctx.op.Mod(x, y, fmod=1)
    # x - x/y*y, exact for all integers where Mod is not. It gives x for y = 0, as XLA does, and 0 for min/-1.
    return ctx.op.Sub(x, ctx.op.Mul(ctx.op.Div(x, _safe_divisor(ctx, x, y)), y))


def _safe_divisor(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """`y` with 1 where an integer division would trap: at 0, and at -1 under the lowest integer.

    With 1 the lowest integer keeps its value, which is what min/-1 wraps to.
    """
    signed = jnp.issubdtype(ctx.dtype(y), jnp.signedinteger)
    known = ctx.constant_value(y)
    if known is not None and (known != 0).all() and not (signed and (known == -1).any()):
        return y
    traps = ctx.op.Equal(y, ctx.const(0, y))
    if signed:
        lowest = ctx.const(ml_dtypes.iinfo(ctx.dtype(x)).min, x)
        overflows = ctx.op.And(ctx.op.Equal(y, ctx.const(-1, y)), ctx.op.Equal(x, lowest))
        traps = ctx.op.Or(traps, overflows)
    return ctx.op.Where(traps, ctx.const(1, y), y)


@plugin.lowering("neg")
def _neg(ctx: LoweringContext, x: ir.Value) -> Any:
    if jnp.issubdtype(ctx.dtype(x), jnp.unsignedinteger):  # ONNX's Neg has no unsigned types
        return ctx.op.Sub(ctx.const(0, x), x)
    return ctx.op.Neg(x)


@plugin.lowering("sign")
def _sign(ctx: LoweringContext, x: ir.Value) -> Any:
    sign = ctx.op.Sign(x)
    if jnp.issubdtype(ctx.dtype(x), jnp.integer):
        return sign
    # x where that is zero or NaN: the operator has no -0, and ONNX Runtime's half precision gives 0 for NaN.
    return ctx.op.Where(ctx.cast(sign, np.bool_), sign, x)


@plugin.lowering("clamp")
def _clamp(ctx: LoweringContext, low: ir.Value, x: ir.Value, high: ir.Value) -> Any:
    # Not Clip, whose bounds are scalars. JAX's order: the upper bound wins where the bounds cross.
    return ctx.op.Min(ctx.op.Max(x, low), high)
