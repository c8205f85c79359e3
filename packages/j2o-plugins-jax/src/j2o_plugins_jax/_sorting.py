"""Sorting and the largest elements: sort, top_k, approx_top_k. ONNX has one operator for them, TopK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._comparisons import total_rank
from ._folding import highest
from ._plugin import plugin


@plugin.lowering("sort", ignores=("is_stable",))
def _sort(ctx: LoweringContext, *operands: ir.Value, dimension: int, num_keys: int) -> Sequence[ir.Value]:
    """Every operand in the order of the first ones. Always stable, as TopK is."""
    shape = ctx.avals_in[0].shape
    size = ctx.shape([shape[dimension]])
    if len(operands) == 1 and not _may_have_nan(ctx, operands[0]):
        return [_top_k(ctx, operands[0], size, dimension, largest=False)[0]]
    order = None
    for key in reversed(operands[:num_keys]):  # sorting by the last key first, the others keep its order among equals
        order = _ordered(ctx, key, order, size, dimension, largest=False)
    return [ctx.op.GatherElements(x, order, axis=dimension) for x in operands]


@plugin.lowering("approx_top_k", ignores=("aggregate_to_topk", "k", "recall_target", "reduction_input_size_override"))
def _approx_top_k(ctx: LoweringContext, x: ir.Value, *, reduction_dimension: int, is_max_k: bool) -> Sequence[ir.Value]:
    # Exact, which every recall allows. Where NaN goes is open in JAX too.
    values, indices = ctx.avals_out
    axis = reduction_dimension % len(values.shape)
    found, positions = _top_k(ctx, x, ctx.shape([values.shape[axis]]), axis, largest=is_max_k)
    return found, ctx.cast(positions, indices.dtype)


@plugin.lowering("top_k", ignores=("is_stable",))
def _largest(ctx: LoweringContext, x: ir.Value, *, k: int, axis: int = -1) -> Sequence[ir.Value]:
    """Without BitCast every NaN counts as positive, which JAX has first, and zeros are equal.

    Those of a negated operand count as negative, which JAX has last: `top_k(-x, k)` finds the smallest.
    """
    axis, count = axis % len(ctx.avals_in[0].shape), ctx.shape([k])
    index_dtype = ctx.avals_out[1].dtype

    def plain(ctx: LoweringContext) -> Sequence[ir.Value]:
        values, positions = _top_k(ctx, x, count, axis, largest=True)
        return values, ctx.cast(positions, index_dtype)

    if not _may_have_nan(ctx, x):
        return plain(ctx)
    size = ctx.shape([ctx.avals_in[0].shape[axis]])
    producer = x.producer()
    negated = producer is not None and producer.op_type == "Neg"

    def with_nan(ctx: LoweringContext) -> Sequence[ir.Value]:
        order = _ordered(ctx, x, None, size, axis, largest=True, nan_last=negated)
        positions = ctx.op.Slice(order, ctx.const([0], np.int64), count, ctx.const([axis], np.int64))
        return ctx.op.GatherElements(x, positions, axis=axis), ctx.cast(positions, index_dtype)

    # TopK does not order NaN. With one among the elements, all of them are sorted.
    any_nan = ctx.op.ReduceMax(ctx.cast(ctx.op.IsNaN(x), np.uint8), keepdims=0)
    results: Sequence[ir.Value] = ctx.op.If(
        ctx.cast(any_nan, np.bool_),
        then_branch=ctx.subgraph(None, [], with_nan, outputs=ctx.avals_out),
        else_branch=ctx.subgraph(None, [], plain, outputs=ctx.avals_out),
        outputs=2,
    )
    return results


@plugin.lowering("top_k", opset=26, ignores=("is_stable",))
def _largest_26(ctx: LoweringContext, x: ir.Value, *, k: int, axis: int = -1) -> Sequence[ir.Value]:
    """By XLA's order of floats, which knows the signs of zeros and NaN."""
    if not _may_have_nan(ctx, x) or _has_no_bits(ctx.dtype(x)):
        return _largest(ctx, x, k=k, axis=axis)
    axis %= len(ctx.avals_in[0].shape)
    positions = _top_k(ctx, ctx.lower_fun(total_rank, x), ctx.shape([k]), axis, largest=True)[1]
    return ctx.op.GatherElements(x, positions, axis=axis), ctx.cast(positions, ctx.avals_out[1].dtype)


def _has_no_bits(dtype: np.dtype[Any]) -> bool:
    """Whether nothing reads the bits of a float: of those of eight bits one has a detour, and none the operator."""
    return dtype.itemsize == 1 and dtype != ml_dtypes.float8_e5m2


def _may_have_nan(ctx: LoweringContext, x: ir.Value) -> bool:
    return "float" in ctx.dtype(x).name


def _ordered(
    ctx: LoweringContext,
    key: ir.Value,
    order: ir.Value | None,
    size: ir.Value,
    axis: int,
    *,
    largest: bool,
    nan_last: bool = True,
) -> Any:
    """Positions that sort a key, with NaN after or before all others; `order` is kept among equals."""
    if order is not None:
        key = ctx.op.GatherElements(key, order, axis=axis)
    is_nan = None
    if _may_have_nan(ctx, key):
        # TopK does not order NaN. First they count as a number, then they are parted from it.
        is_nan = ctx.op.IsNaN(key)
        key = ctx.op.Where(is_nan, ctx.const(highest(ctx.dtype(key)), key), key)
    by_key = _top_k(ctx, key, size, axis, largest=largest)[1]
    if is_nan is not None:
        is_nan = ctx.op.GatherElements(ctx.cast(is_nan, np.int32), by_key, axis=axis)
        parted = _top_k(ctx, is_nan, size, axis, largest=not nan_last)[1]
        by_key = ctx.op.GatherElements(by_key, parted, axis=axis)
    return by_key if order is None else ctx.op.GatherElements(order, by_key, axis=axis)


def _top_k(
    ctx: LoweringContext, x: ir.Value, count: ir.Value, axis: int, *, largest: bool
) -> tuple[ir.Value, ir.Value]:
    dtype = ctx.dtype(x)
    if dtype == np.bool_:
        x = ctx.cast(x, np.uint8)
    values, positions = ctx.op.TopK(x, count, axis=axis, largest=int(largest), sorted=1, outputs=2)
    return ctx.cast(values, dtype), positions
