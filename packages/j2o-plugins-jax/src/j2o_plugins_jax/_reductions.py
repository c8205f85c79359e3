"""Reductions over axes: sums, products, extremes, logic, and `reduce` with any function."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax.extend.core import jaxpr_as_fun

from j2o_core import LoweringContext
from j2o_core._compat import is_symbolic
from j2o_core.target import INTEGERS

from ._folding import Values, fold, highest, lowest
from ._mapped import mapped
from ._plugin import plugin

_NEUTRAL = {
    "ReduceSum": lambda dtype: 0,
    "ReduceProd": lambda dtype: 1,
    "ReduceMax": lowest,
    "ReduceMin": highest,
}


def _reduce(ctx: LoweringContext, x: ir.Value, op_type: str, axes: tuple[int, ...]) -> Any:
    if not axes:  # which ONNX reads as all axes
        return x
    dtype, sizes = ctx.dtype(x), [ctx.avals_in[0].shape[axis] for axis in axes]
    if any(not is_symbolic(size) and size == 0 for size in sizes):
        return ctx.expand(ctx.const(_NEUTRAL[op_type](dtype), dtype), ctx.avals_out[0].shape)
    if dtype == np.bool_ and any(map(is_symbolic, sizes)):
        # Runtimes have no extreme of no booleans. Of no bytes it is 0 or 255.
        return ctx.cast(_reduce(ctx, ctx.cast(x, np.uint8), op_type, axes), np.bool_)
    return ctx.op(op_type, x, ctx.const(axes, np.int64), keepdims=0)


for _primitive, _op_type in {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}.items():
    plugin.lowering(_primitive, ignores=("out_sharding",))(functools.partial(_reduce, op_type=_op_type))


def _folded(ctx: LoweringContext, x: ir.Value, op_type: str, identity: Any, axes: tuple[int, ...]) -> Any:
    def combine(ctx: LoweringContext, left: Values, right: Values) -> Values:
        return [ctx.op(op_type, *left, *right)]

    return _fold_axes(ctx, [x], axes, combine, [ctx.const(identity, x)])[0]


def _fold_axes(ctx: LoweringContext, xs: Values, axes: Sequence[int], combine: Any, identities: Values) -> Values:
    shape = list(ctx.avals_in[0].shape)
    for axis in sorted(axes, reverse=True):
        xs = fold(ctx, xs, shape, axis, combine, identities)
        del shape[axis]
    return xs


@plugin.lowering("reduce_prod")
def _reduce_prod(ctx: LoweringContext, x: ir.Value, *, axes: tuple[int, ...]) -> Any:
    unknown = any(is_symbolic(ctx.avals_in[0].shape[axis]) for axis in axes)
    # The nodes that replace the operator need the number of elements.
    if unknown and x.dtype in INTEGERS and ctx.target.computes_wrongly("ReduceProd", ir.DataType.INT64):
        return _folded(ctx, x, "Mul", 1, axes)
    return _reduce(ctx, x, "ReduceProd", axes)


def _logic(
    ctx: LoweringContext, x: ir.Value, *, bool_op_type: str, op_type: str, ones: bool, axes: tuple[int, ...]
) -> Any:
    if ctx.dtype(x) == np.bool_:
        return _reduce(ctx, x, bool_op_type, axes)
    return _folded(ctx, x, op_type, np.array(-int(ones)).astype(ctx.dtype(x)), axes)


plugin.lowering("reduce_and")(functools.partial(_logic, bool_op_type="ReduceMin", op_type="BitwiseAnd", ones=True))
plugin.lowering("reduce_or")(functools.partial(_logic, bool_op_type="ReduceMax", op_type="BitwiseOr", ones=False))


@plugin.lowering("reduce_xor")
def _reduce_xor(ctx: LoweringContext, x: ir.Value, *, axes: tuple[int, ...]) -> Any:
    if ctx.dtype(x) != np.bool_:
        return _folded(ctx, x, "BitwiseXor", 0, axes)
    count = _reduce(ctx, ctx.cast(x, np.int32), "ReduceSum", axes)
    return ctx.cast(ctx.op.BitwiseAnd(count, ctx.const(1, np.int32)), np.bool_)


@plugin.lowering("reduce", ignores=("computation",))
def _general_reduce(ctx: LoweringContext, *operands: ir.Value, jaxpr: Any, dimensions: tuple[int, ...]) -> Values:
    count = len(operands) // 2
    xs: Values = operands[:count]
    init = operands[count:]
    function = jaxpr_as_fun(jaxpr)

    def combine(ctx: LoweringContext, left: Values, right: Values) -> Values:
        result: Values = ctx.lower_fun(functools.partial(mapped, function, rank=0), *left, *right)
        return result

    # The initial values need not be identity elements. XLA takes them once, and leaves them out for only elements.
    shape, kept = ctx.avals_in[0].shape, ctx.avals_out[0].shape
    unknown = [axis for axis in dimensions if is_symbolic(shape[axis])]
    known = [axis for axis in dimensions if axis not in unknown]
    elements = math.prod(shape[axis] for axis in known)
    if elements == 0:
        return [ctx.expand(value, kept) for value in init]
    xs = _fold_axes(ctx, xs, known, combine, init)
    if not unknown:
        return xs if elements == 1 else combine(ctx, [ctx.expand(value, kept) for value in init], xs)
    rest = [axis for axis in range(len(shape)) if axis not in known]
    order = sorted(range(len(rest)), key=lambda place: rest[place] not in unknown)
    flat = math.prod(shape[axis] for axis in unknown), *kept
    xs = [ctx.reshape(ctx.op.Transpose(x, perm=order), flat) for x in xs]
    totals = fold(ctx, xs, flat, 0, combine, init)
    return totals if elements > 1 else _unless_only(ctx, xs, flat[0], totals)


def _unless_only(ctx: LoweringContext, xs: Values, count: Any, totals: Values) -> Values:
    """The totals; of arrays with a single element along their first axis, that element."""
    op = ctx.op
    only = ctx.cast(op.Equal(ctx.dim(count), ctx.const(1, np.int64)), np.int64)
    zero, one = ctx.const([0], np.int64), ctx.const([1], np.int64)
    choices = [
        op.Concat(op.Unsqueeze(total, zero), op.Slice(x, zero, one, zero), axis=0)
        for x, total in zip(xs, totals, strict=True)
    ]
    return [op.Gather(choice, only, axis=0) for choice in choices]
