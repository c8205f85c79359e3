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

from ._plugin import plugin


@plugin.lowering("eq")
def _eq(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    return ctx.op.Equal(x, y)


@plugin.lowering("ne")
def _ne(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> Any:
    return ctx.op.Not(ctx.op.Equal(x, y))


def _order(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, op_type: str) -> Any:
    if ctx.dtype(x) == np.bool_:  # ONNX does not order booleans
        x, y = ctx.cast(x, np.uint8), ctx.cast(y, np.uint8)
    return ctx.op(op_type, x, y)


for _primitive, _op_type in {
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
}.items():
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


def _total_order(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, op_type: str) -> Any:
    if "float" not in ctx.dtype(x).name:
        return _order(ctx, x, y, op_type=op_type) if op_type != "Equal" else ctx.op.Equal(x, y)
    return ctx.op(op_type, *(ctx.lower_fun(total_rank, operand) for operand in (x, y)))


def total_rank(x: jax.Array) -> jax.Array:
    """Integers in the order -NaN < -infinity < ... < -0 < 0 < ... < infinity < NaN."""
    word = jnp.dtype(f"int{x.dtype.itemsize * 8}")
    bits = lax.bitcast_convert_type(x, word)
    # Negative floats are ordered against their bits, but for the sign.
    return jnp.where(bits < 0, bits ^ jnp.array(jnp.iinfo(word).max, word), bits)


for _primitive, _op_type in {"eq_to": "Equal", "lt_to": "Less", "le_to": "LessOrEqual"}.items():
    plugin.lowering(_primitive)(functools.partial(_total_order, op_type=_op_type))
