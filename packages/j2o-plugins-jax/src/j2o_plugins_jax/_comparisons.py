"""Comparisons and choices: eq, ne, lt, le, gt, ge, their total-order variants, select_n."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax

from j2o_core import LoweringContext

from ._natural import natural
from ._plugin import plugin

plugin.lowering("eq")(natural("Equal"))


@plugin.lowering("ne")
def _ne(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    return ctx.op.Not(ctx.op.Equal(x, y))


def _order(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, op_type: str) -> Any:
    if ctx.dtype(x) == np.bool_:  # ONNX does not order booleans
        x, y = ctx.cast(x, np.uint8), ctx.cast(y, np.uint8)
    return ctx.op(op_type, x, y)


for _primitive, _op_type in {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}.items():
    plugin.lowering(_primitive)(functools.partial(_order, op_type=_op_type))


@plugin.lowering("select_n")
def _select_n(ctx: LoweringContext, which: ir.Value, *cases: ir.Value) -> Any:
    if len(cases) == 1:
        return cases[0]
    if ctx.dtype(which) == np.bool_:
        return ctx.op.Where(which, cases[1], cases[0])
    # An index below 0 takes the first case, one past the end the last, as in XLA.
    result = cases[-1]
    for index in range(len(cases) - 2, -1, -1):
        result = ctx.op.Where(ctx.op.Less(which, ctx.const(index + 1, which)), cases[index], result)
    return result


def is_negative(ctx: LoweringContext, x: ir.Value) -> Any:
    """Whether the sign bit is set, for all but NaN: x + 1/x has the sign of x, of zeros and infinities too."""
    return ctx.op.Less(ctx.op.Add(x, ctx.op.Reciprocal(x)), ctx.const(0, x))


@plugin.lowering("lt_to")
def _lt_to(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    """Less, -0 below 0, and NaN above all others."""
    if "float" not in ctx.dtype(x).name:
        return _order(ctx, x, y, op_type="Less")
    if _by_bits(ctx, x):
        return ctx.op.Less(*(ctx.lower_fun(total_rank, operand) for operand in (x, y)))
    less = ctx.op.Less(x, y)
    if ctx.range(x).negative_zero:
        signs = ctx.op.And(_below_zero(ctx, x), ctx.op.Not(_below_zero(ctx, y)))
        less = ctx.op.Or(less, ctx.op.And(ctx.op.Equal(x, y), signs))
    if ctx.range(y).nan:
        less = ctx.op.Or(less, ctx.op.And(_is_nan(ctx, y), ctx.op.Not(_is_nan(ctx, x))))
    return less


@plugin.lowering("le_to")
def _le_to(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    return ctx.op.Not(_lt_to(ctx, y, x))


@plugin.lowering("eq_to")
def _eq_to(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    if "float" not in ctx.dtype(x).name:
        return ctx.op.Equal(x, y)
    if _by_bits(ctx, x):
        return ctx.op.Equal(*(ctx.lower_fun(total_rank, operand) for operand in (x, y)))
    equal = ctx.op.Equal(x, y)
    if ctx.range(x).negative_zero or ctx.range(y).negative_zero:
        equal = ctx.op.And(equal, ctx.op.Equal(_below_zero(ctx, x), _below_zero(ctx, y)))
    return ctx.op.Or(equal, ctx.op.And(_is_nan(ctx, x), _is_nan(ctx, y)))


def _by_bits(ctx: LoweringContext, x: ir.Value) -> bool:
    """Whether bits are compared: BitCast, new in opset 26, shows the sign of NaN, and ONNX does not order float8."""
    return ctx.opset >= 26 or ctx.dtype(x).itemsize == 1


def _is_nan(ctx: LoweringContext, x: ir.Value) -> Any:
    return ctx.op.Not(ctx.op.Equal(x, x))


def _below_zero(ctx: LoweringContext, x: ir.Value) -> Any:
    """Whether a number is negative, -0 too: of two equal numbers, whether the sign bits differ is what counts."""
    return ctx.op.Less(ctx.op.Reciprocal(x), ctx.const(0, x))


def total_rank(x: jax.Array) -> jax.Array:
    """Integers in the order -NaN < -infinity < ... < -0 < 0 < ... < infinity < NaN."""
    word = jnp.dtype(f"int{x.dtype.itemsize * 8}")
    bits = lax.bitcast_convert_type(x, word)
    # Negative floats are ordered against their bits, but for the sign.
    return jnp.where(bits < 0, bits ^ jnp.array(jnp.iinfo(word).max, word), bits)
