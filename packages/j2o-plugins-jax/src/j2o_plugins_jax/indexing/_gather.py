"""gather in all its modes: Slice for constant starts, else Gather, GatherElements or GatherND, whichever fits."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax import lax
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension

from .._plugin import plugin
from .._shapes import insert_axes
from ._indexing import Axis, Windows
from ._indices import (
    as_int64,
    clamp_index,
    clamp_indices,
    index_range,
    index_vectors,
    is_inside,
    number_of,
    window_offsets,
)
from ._slicing import dynamic_slice, static_slice

# Vectors from which arithmetic on their numbers costs less than GatherND.
_MANY = 256

_Gathered = tuple[ir.Value, list[Axis]]  # windows and what their axes are


@plugin.lowering("gather", ignores=("indices_are_sorted", "unique_indices"))
def _gather(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    *,
    dimension_numbers: lax.GatherDimensionNumbers,
    slice_sizes: Sequence[Any],
    mode: lax.GatherScatterMode,
    fill_value: Any,
) -> ir.Value:
    result = ctx.avals_out[0].shape
    # A number beyond the dtype wraps, as where JAX converts it.
    fill = ctx.const(np.asarray(0 if fill_value is None else fill_value).astype(ctx.avals_out[0].dtype))
    shape = ctx.avals_in[0].shape
    if any(same_dimension(size, 0) for size in (*shape, *result)):
        return ctx.expand(fill, result)
    dnums = dimension_numbers
    windows = Windows.of(
        shape,
        ctx.avals_in[1].shape[:-1],
        slice_sizes,
        dnums.start_index_map,
        (dnums.operand_batching_dims, dnums.start_indices_batching_dims),
        dnums.collapsed_slice_dims,
        dnums.offset_dims,
    )
    if mode != lax.GatherScatterMode.FILL_OR_DROP:
        indices, windows = _numbers_that_matter(ctx, indices, windows)
    elif _wraps_indices(ctx):
        indices = ctx.cast(indices, np.int32)
    numbers = _numbers_of_many(ctx, indices, windows)
    if numbers is not None:
        gathered, inside = _by_number(ctx, x, numbers, windows)
        return gathered if mode != lax.GatherScatterMode.FILL_OR_DROP else _filled(ctx, gathered, inside, windows, fill)
    index = index_vectors(ctx, indices, (*windows.batch, len(windows.indexed)))
    # XLA clamps even where JAX promises that all is inside, and `x[i]` promises that.
    clamped = clamp_indices(ctx, index, windows.last_starts)
    value, axes = _gathered(ctx, x, clamped, windows)
    gathered = windows.arrange(ctx, value, axes, windows.axes)
    if mode != lax.GatherScatterMode.FILL_OR_DROP:
        return gathered
    return _filled(ctx, gathered, is_inside(ctx, index, clamped, len(windows.indexed)), windows, fill)


def _filled(
    ctx: LoweringContext, gathered: ir.Value, inside: ir.Value | None, windows: Windows, fill: ir.Value
) -> ir.Value:
    if inside is None:
        return gathered
    return ctx.op.Where(windows.spread(ctx, inside), gathered, fill)


def _numbers_that_matter(ctx: LoweringContext, indices: ir.Value, windows: Windows) -> tuple[ir.Value, Windows]:
    """Index vectors without the numbers of axes that windows cover: clamped, they are zero whatever they were."""
    width, rank = len(windows.indexed), len(windows.batch)
    kept = [column for column, last in enumerate(windows.last_starts) if not same_dimension(last, 0)]
    if not 0 < len(kept) < width:
        return indices, windows
    columns = [number_of(ctx, indices, column, width, rank) for column in kept]
    columns = [insert_axes(ctx, column, (*windows.batch, 1), [rank]) for column in columns]
    indices = ctx.op.Concat(*columns, axis=-1)
    return indices, windows.with_indexed(windows.shape, [windows.indexed[column] for column in kept])


def _wraps_indices(ctx: LoweringContext) -> bool:
    """Whether JAX cuts 64-bit indices to 32 bits before it compares them with the ends of the axes."""
    shape, wide = ctx.avals_in[0].shape, ctx.avals_in[1].dtype.itemsize == 8
    return wide and not any(is_symbolic_dim(size) or size > np.iinfo(np.int32).max for size in shape)


def _gathered(ctx: LoweringContext, x: ir.Value, index: ir.Value, windows: Windows) -> _Gathered:
    """The windows, with the axes in any order; axes of size 1 may be missing or too many."""
    if windows.is_one:
        window = dynamic_slice(ctx, x, windows.shape, windows.starts(ctx, index), windows.sizes)
        return window, [Axis(False, axis) for axis in range(len(windows.shape))]
    x, index, windows = _constant_starts(ctx, x, index, windows)
    if len(windows.indexed) <= 1 and not windows.paired:
        return _along_one_axis(ctx, x, index, windows)
    if len(windows.indexed) == 1 and not windows.rest and same_dimension(windows.sizes[windows.indexed[0]], 1):
        return _by_element(ctx, x, index, windows)
    return _by_vector(ctx, x, index, windows)


def _constant_starts(
    ctx: LoweringContext, x: ir.Value, index: ir.Value, windows: Windows
) -> tuple[ir.Value, ir.Value, Windows]:
    """Cut what all windows have in common, so that only the axes where they differ are indexed."""
    starts: list[Any] = [0] * len(windows.shape)
    width, rank = len(windows.indexed), len(windows.batch)
    numbers = [number_of(ctx, index, column, width, rank) for column in range(width)]
    kept = []
    for column, axis in enumerate(windows.indexed):
        constant = ctx.constant_value(numbers[column])
        if constant is not None and (constant == constant.flat[0]).all():
            starts[axis] = int(constant.flat[0])
        elif not same_dimension(windows.sizes[axis], windows.shape[axis]):
            kept.append(column)
    indexed = tuple(windows.indexed[column] for column in kept)
    lengths = [
        windows.shape[axis] if axis in indexed or axis in windows.paired else windows.sizes[axis]
        for axis in range(len(windows.shape))
    ]
    limits = [start + length for start, length in zip(starts, lengths, strict=True)]
    x = static_slice(ctx, x, windows.shape, starts, limits)
    if len(kept) == 1:
        index = numbers[kept[0]]
    elif 0 < len(kept) < width:
        columns = [insert_axes(ctx, numbers[column], (*windows.batch, 1), [rank]) for column in kept]
        index = ctx.op.Concat(*columns, axis=-1)
    return x, index, windows.with_indexed(lengths, indexed)


def _along_one_axis(ctx: LoweringContext, x: ir.Value, index: ir.Value, windows: Windows) -> _Gathered:
    """Gather: its indices may have any rank and take their place in the operand's shape."""
    batch = [Axis(True, axis) for axis in range(len(windows.batch))]
    axes = [Axis(False, axis) for axis in range(len(windows.shape))]
    if not windows.indexed:
        return (ctx.expand(x, (*windows.batch, *windows.shape)), [*batch, *axes])
    (axis,) = windows.indexed
    window = []
    if not same_dimension(windows.sizes[axis], 1):
        index = insert_axes(ctx, index, (*windows.batch, 1), [len(windows.batch)])
        index = ctx.op.Add(index, index_range(ctx, windows.sizes[axis]))
        window = [Axis(False, axis)]
    return ctx.op.Gather(x, index, axis=axis), [*axes[:axis], *batch, *window, *axes[axis + 1 :]]


def _by_element(ctx: LoweringContext, x: ir.Value, index: ir.Value, windows: Windows) -> _Gathered:
    """GatherElements: every axis but one runs along with an axis of the indices."""
    (axis,) = windows.indexed
    batch = [Axis(True, number) for number in range(len(windows.batch))]
    if len(windows.batch) == len(windows.shape) and all(one == other for one, other in windows.paired.items()):
        return (ctx.op.GatherElements(x, index, axis=axis), batch)
    paired = sorted(windows.paired, key=windows.paired.__getitem__)
    lead = [windows.paired[one] for one in paired]
    x = ctx.op.Transpose(x, perm=[*paired, axis])
    index = ctx.op.Transpose(index, perm=[*lead, *windows.unpaired])
    lead_sizes, sizes = ([windows.batch[one] for one in axes] for axes in (lead, windows.unpaired))
    index = ctx.reshape(index, [*lead_sizes, math.prod(sizes)])
    elements = ctx.reshape(ctx.op.GatherElements(x, index, axis=len(lead)), [*lead_sizes, *sizes])
    return elements, [batch[one] for one in (*lead, *windows.unpaired)]


def _numbers_of_many(ctx: LoweringContext, indices: ir.Value, windows: Windows) -> list[ir.Value] | None:
    """The numbers of index vectors, if many elements, or what lies behind them, are taken by several numbers."""
    if windows.paired or len(windows.indexed) < 2 or any(map(is_symbolic_dim, windows.shape)):
        return None
    whole = all(same_dimension(windows.sizes[axis], windows.shape[axis]) for axis in windows.rest)
    narrow = all(same_dimension(windows.sizes[axis], 1) for axis in windows.indexed)
    many = math.prod(size for size in windows.batch if not is_symbolic_dim(size)) >= _MANY
    if not (whole and narrow and many) or ctx.constant_value(indices) is not None:
        return None
    width, rank = len(windows.indexed), len(windows.batch)
    return [number_of(ctx, indices, column, width, rank) for column in range(width)]


def _by_number(
    ctx: LoweringContext, x: ir.Value, numbers: Sequence[ir.Value], windows: Windows
) -> tuple[ir.Value, ir.Value | None]:
    """Gather from the indexed axes as one: the numbers are clamped, and counted, each by itself.

    ONNX Runtime takes 12 ns for a vector of GatherND and 10 ns to clamp one, 0.7 ns for a number of GatherElements.
    """
    sizes = [windows.shape[axis] for axis in windows.indexed]
    steps: list[ir.Value] = []
    tests: list[ir.Value] = []
    for column, (number, size) in enumerate(zip(numbers, sizes, strict=True)):
        number = as_int64(ctx, number)
        clamped = clamp_index(ctx, number, size - 1)
        inside = is_inside(ctx, number, clamped, 1)
        tests += [inside] if inside is not None else []
        behind, constant = math.prod(sizes[column + 1 :]), ctx.constant_value(clamped)
        step = ctx.op.Mul(clamped, ctx.const(behind, np.int64)) if constant is None else ctx.const(behind * constant)
        steps.append(step)
    place = functools.reduce(ctx.op.Add, steps)
    x = ctx.op.Transpose(x, perm=[*windows.indexed, *windows.rest])
    x = ctx.reshape(x, [math.prod(sizes), *(windows.shape[axis] for axis in windows.rest)])
    axes = [*(Axis(True, one) for one in range(len(windows.batch))), *(Axis(False, axis) for axis in windows.rest)]
    gathered = windows.arrange(ctx, ctx.op.Gather(x, place, axis=0), axes, windows.axes)
    return gathered, functools.reduce(ctx.op.And, tests) if tests else None


def _by_vector(ctx: LoweringContext, x: ir.Value, index: ir.Value, windows: Windows) -> _Gathered:
    """GatherND: index vectors into the leading axes, behind axes that run along."""
    paired = sorted(windows.paired, key=windows.paired.__getitem__)
    lead = [*(windows.paired[one] for one in paired), *windows.unpaired]
    axes = [Axis(True, one) for one in lead]
    x = ctx.op.Transpose(x, perm=[*paired, *windows.indexed, *windows.rest])
    if not windows.indexed:
        sizes = [windows.batch[one] for one in lead] + [windows.shape[one] for one in windows.rest]
        places = range(len(paired), len(lead))
        x = insert_axes(ctx, x, [1 if place in places else size for place, size in enumerate(sizes)], places)
        return ctx.expand(x, sizes), [*axes, *(Axis(False, one) for one in windows.rest)]
    if len(windows.indexed) == 1:
        index = insert_axes(ctx, index, (*windows.batch, 1), [len(windows.batch)])
    index = ctx.op.Transpose(index, perm=[*lead, len(windows.batch)])
    wide = [axis for axis in windows.indexed if not same_dimension(windows.sizes[axis], 1)]
    if wide:
        index = ctx.op.Unsqueeze(index, ctx.const(range(len(lead), len(lead) + len(wide)), np.int64))
        index = ctx.op.Add(index, window_offsets(ctx, [windows.sizes[axis] for axis in windows.indexed]))
    axes += [Axis(False, axis) for axis in (*wide, *windows.rest)]
    return ctx.op.GatherND(x, index, batch_dims=len(paired)), axes
