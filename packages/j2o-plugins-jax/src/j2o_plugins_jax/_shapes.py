"""Other shapes for the same elements: reshape, broadcast, squeeze, transpose, reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension

from ._plugin import plugin


@plugin.lowering("reshape", ignores=("new_sizes", "sharding"))
def _reshape(ctx: LoweringContext, x: ir.Value, *, dimensions: Sequence[int] | None = None) -> ir.Value:
    if dimensions is not None:
        x = ctx.op.Transpose(x, perm=tuple(dimensions))
    return ctx.reshape(x, ctx.avals_out[0].shape)


@plugin.lowering("broadcast_in_dim", ignores=("sharding",))
def _broadcast_in_dim(
    ctx: LoweringContext,
    x: ir.Value,
    *_: ir.Value,
    shape: Sequence[Any],
    broadcast_dimensions: Sequence[int],
) -> ir.Value:
    order = sorted(range(len(broadcast_dimensions)), key=broadcast_dimensions.__getitem__)
    sizes = [ctx.avals_in[0].shape[axis] for axis in order]
    broadcast_dimensions = sorted(broadcast_dimensions)
    x = ctx.op.Transpose(x, perm=order)
    # The axes get their places by a reshape, sizes change in an Expand: what reads the result elementwise
    # broadcasts by itself and then needs no Expand. New axes in front come with the Expand.
    first = min(broadcast_dimensions, default=len(shape))
    inserted = [axis for axis in range(len(shape)) if axis not in broadcast_dimensions]
    stretched = [axis for axis, size in zip(broadcast_dimensions, sizes, strict=True) if same_dimension(size, 1)]
    grows = [axis for axis in (*inserted, *stretched) if not same_dimension(shape[axis], 1)]
    if not any(axis < first for axis in grows):
        first = 0  # a reshape has to add the axes in front, since no Expand does
    placed: list[Any] = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, sizes, strict=True):
        placed[axis] = size
    new_axes = [axis - first for axis in inserted if axis >= first]
    x = insert_axes(ctx, x, placed[first:], new_axes)
    return ctx.expand(x, shape) if grows else x


def insert_axes(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], axes: Sequence[int]) -> ir.Value:
    """`x` with axes of size 1 added, which makes its shape `shape`."""
    if not axes:
        return x
    if any(map(is_symbolic_dim, shape)):
        return ctx.op.Unsqueeze(x, ctx.const(axes, np.int64))
    return ctx.reshape(x, shape)


def drop_axes(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], axes: Sequence[int]) -> ir.Value:
    """`x` without some axes of size 1, which makes its shape `shape`."""
    if not axes:
        return x
    if any(map(is_symbolic_dim, shape)):
        return ctx.op.Squeeze(x, ctx.const(axes, np.int64))
    return ctx.reshape(x, shape)


@plugin.lowering("squeeze")
def _squeeze(ctx: LoweringContext, x: ir.Value, *, dimensions: Sequence[int]) -> ir.Value:
    return drop_axes(ctx, x, ctx.avals_out[0].shape, dimensions)


@plugin.lowering("transpose")
def _transpose(ctx: LoweringContext, x: ir.Value, *, permutation: Sequence[int]) -> Any:
    return ctx.op.Transpose(x, perm=tuple(permutation))


@plugin.lowering("rev")
def flip(ctx: LoweringContext, x: ir.Value, *, dimensions: Sequence[int]) -> ir.Value:
    """`x` with the elements along these axes in the opposite order."""
    if not dimensions:
        return x
    count = len(dimensions)
    first, last = [-1] * count, [np.iinfo(np.int64).min] * count
    vectors = [ctx.const(vector, np.int64) for vector in (first, last, dimensions, [-1] * count)]
    return ctx.op.Slice(x, *vectors)
