"""scatter and its reductions in all modes: the update of one window as a slice, several by ScatterND."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension

from .._folding import highest, lowest
from .._plugin import plugin
from .._shapes import insert_axes
from ._indexing import Axis, Windows
from ._indices import (
    as_int64,
    clamp_indices,
    index_range,
    index_vectors,
    is_inside,
    number_of,
    window_offsets,
)
from ._slicing import dynamic_slice, dynamic_update_slice, static_slice

# Elements of an array for which a choice for each takes less time than the nodes around ScatterND. A choice takes up to
# 10 ns, where rows are broadcast.
_FEW = 128


@dataclass(frozen=True)
class _Update:
    """The new value of an element, from its old value and its update."""

    reduction: str = "none"

    def __call__(self, ctx: LoweringContext, old: ir.Value, update: ir.Value) -> ir.Value:
        if self.reduction == "none":
            return update
        return ctx.op(self.reduction.capitalize(), old, update)

    def neutral(self, dtype: np.dtype[Any]) -> Any:
        """The update that changes nothing."""
        if self.reduction == "add":
            return -0.0 if jnp.issubdtype(dtype, jnp.inexact) else 0  # since -0.0 + 0.0 is 0.0
        if self.reduction == "mul":
            return 1
        return highest(dtype) if self.reduction == "min" else lowest(dtype)


@dataclass(frozen=True)
class _Scatter:
    """One scatter: what lies where, which windows are updated (None: all), and how.

    `given` are the index vectors as they were before those outside were moved inside.
    """

    windows: Windows
    given: ir.Value
    index: ir.Value
    inside: ir.Value | None
    update: _Update

    @property
    def width(self) -> int:
        return len(self.windows.indexed)


def _scatter(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    updates: ir.Value,
    *,
    reduction: str,
    dimension_numbers: lax.ScatterDimensionNumbers,
    mode: lax.GatherScatterMode,
) -> ir.Value:
    shape, index_shape, update_shape = (aval.shape for aval in ctx.avals_in)
    if any(same_dimension(size, 0) for size in (*shape, *update_shape)):
        return x
    windows = _windows(shape, index_shape[:-1], update_shape, dimension_numbers)
    update = _Update(reduction)
    dtype = ctx.dtype(x)
    if reduction == "sub" and not windows.is_one:
        unsigned = jnp.issubdtype(dtype, jnp.unsignedinteger)  # which ONNX's Neg does not have
        updates = ctx.op.Sub(ctx.const(0, dtype), updates) if unsigned else ctx.op.Neg(updates)
        update = _Update("add")
    if dtype == np.bool_ and reduction != "none":
        # Of numbers that are 0 or 1 the maximum is "or", the minimum is "and".
        update = _Update({"add": "max", "mul": "min"}.get(update.reduction, update.reduction))
        x, updates = ctx.cast(x, np.int32), ctx.cast(updates, np.int32)
    index = index_vectors(ctx, indices, index_shape)
    if _is_chosen(ctx, index, windows):
        moves_inside = mode == lax.GatherScatterMode.CLIP
        return ctx.cast(_chosen(ctx, x, indices, updates, windows, update, moves_inside=moves_inside), dtype)
    clamped = clamp_indices(ctx, index, windows.last_starts)
    # XLA drops what is outside even where JAX promises that all is inside, as the gradient of `x[i]` does.
    inside = None if mode == lax.GatherScatterMode.CLIP else is_inside(ctx, index, clamped, len(windows.indexed))
    scatter = _Scatter(windows, index, clamped, inside, update)
    result = (_one_window if windows.is_one else _several)(ctx, x, updates, scatter)
    return ctx.cast(result, dtype)


# The last two hold what `scatter_apply` computes, which has a decomposition.
_HINTS = ("indices_are_sorted", "unique_indices", "update_jaxpr", "update_consts")
for _primitive, _reduction in {
    lax.scatter_p: "none",
    lax.scatter_add_p: "add",
    lax.scatter_sub_p: "sub",
    lax.scatter_mul_p: "mul",
    lax.scatter_min_p: "min",
    lax.scatter_max_p: "max",
}.items():
    plugin.lowering(_primitive, ignores=_HINTS)(functools.partial(_scatter, reduction=_reduction))


def _windows(
    shape: Sequence[Any], batch: Sequence[Any], updates: Sequence[Any], dnums: lax.ScatterDimensionNumbers
) -> Windows:
    narrow = {*dnums.inserted_window_dims, *dnums.operand_batching_dims}
    places = iter(dnums.update_window_dims)
    return Windows.of(
        shape,
        batch,
        [1 if axis in narrow else updates[next(places)] for axis in range(len(shape))],
        dnums.scatter_dims_to_operand_dims,
        (dnums.operand_batching_dims, dnums.scatter_indices_batching_dims),
        dnums.inserted_window_dims,
        dnums.update_window_dims,
    )


def _one_window(ctx: LoweringContext, x: ir.Value, updates: ir.Value, scatter: _Scatter) -> ir.Value:
    """A slice, updated."""
    windows = scatter.windows
    window = windows.arrange(ctx, updates, windows.axes, [Axis(False, axis) for axis in range(len(windows.shape))])
    starts = windows.starts(ctx, scatter.index)
    if scatter.update != _Update() or scatter.inside is not None:
        old = dynamic_slice(ctx, x, windows.shape, starts, windows.sizes)
        window = scatter.update(ctx, old, window)
        if scatter.inside is not None:
            window = ctx.op.Where(ctx.reshape(scatter.inside, ()), window, old)
    return dynamic_update_slice(ctx, x, windows.shape, window, windows.sizes, starts)


def _is_chosen(ctx: LoweringContext, index: ir.Value, windows: Windows) -> bool:
    """Whether an element or a row is updated at a place that is not known, of an array of few elements.

    Under `vmap` one of each array of a batch is.
    """
    if ctx.constant_value(index) is not None or not windows.indexed or any(map(is_symbolic_dim, windows.shape)):
        return False
    places = [windows.paired[axis] for axis in sorted(windows.paired)]
    if places != sorted(places) or not all(same_dimension(windows.batch[axis], 1) for axis in windows.unpaired):
        return False
    wanted = [1 if axis in windows.indexed or axis in windows.paired else n for axis, n in enumerate(windows.shape)]
    if list(windows.sizes) != wanted or math.prod(windows.shape) > _FEW:
        return False
    return not ctx.range(index).within(0, min(windows.last_starts))  # of an index inside, ScatterND is all


def _chosen(
    ctx: LoweringContext,
    x: ir.Value,
    index: ir.Value,
    updates: ir.Value,
    windows: Windows,
    update: _Update,
    *,
    moves_inside: bool,
) -> ir.Value:
    """The new value where the place of an element is the index, else the old one. An index outside is no place."""
    axes, width = range(len(windows.shape)), len(windows.indexed)
    index = index if ctx.dtype(index) in (np.int32, np.int64) else as_int64(ctx, index)
    batch = [windows.shape[axis] for axis in sorted(windows.paired)]
    flat = ctx.reshape(index, batch if width == 1 else (*batch, width))
    hits = []
    for column, axis in enumerate(windows.indexed):
        place = number_of(ctx, flat, column, width, len(batch))
        if moves_inside:
            place = ctx.op.Clip(place, ctx.const(0, place), ctx.const(windows.shape[axis] - 1, place))
        if batch:
            place = ctx.reshape(place, [windows.shape[other] if other in windows.paired else 1 for other in axes])
        line = np.arange(windows.shape[axis]).reshape([-1 if other == axis else 1 for other in axes])
        hits.append(ctx.op.Equal(ctx.const(line, place), place))
    wanted = [Axis(True, windows.paired[axis]) if axis in windows.paired else Axis(False, axis) for axis in axes]
    window = windows.arrange(ctx, updates, windows.axes, wanted)
    sizes = [windows.shape[axis] if axis in windows.paired else windows.sizes[axis] for axis in axes]
    first = next((axis for axis in axes if sizes[axis] != 1), len(axes))
    window = ctx.reshape(window, sizes[first:])  # as much as broadcasting needs
    return ctx.op.Where(functools.reduce(ctx.op.And, hits), update(ctx, x, window), x)


def _several(ctx: LoweringContext, x: ir.Value, updates: ir.Value, scatter: _Scatter) -> ir.Value:
    """Windows at index vectors; those outside are made to change nothing, or to change what is cut off again."""
    windows, inside = scatter.windows, scatter.inside
    if not windows.shape:
        lone = replace(scatter, windows=replace(windows, shape=(1,), sizes=(1,)))
        return ctx.reshape(_several(ctx, ctx.reshape(x, (1,)), updates, lone), ())
    if inside is None:
        return _updated(ctx, x, updates, scatter)
    if scatter.update.reduction != "none" and not _are_many(ctx.avals_in[2].shape, windows.shape):
        neutral = ctx.const(scatter.update.neutral(ctx.dtype(x)), ctx.dtype(x))
        return _updated(ctx, x, ctx.op.Where(windows.spread(ctx, inside), updates, neutral), scatter)
    axis = windows.indexed[0]
    room = [windows.sizes[axis] if other == axis else 0 for other in range(len(windows.shape))]
    outside = [windows.shape[axis]] + [0] * (scatter.width - 1)
    wide = tuple(size + more for size, more in zip(windows.shape, room, strict=True))
    x = ctx.op.Pad(x, ctx.shape([0] * len(room) + room), ctx.const(0, ctx.dtype(x)))
    if scatter.width > 1:
        inside = insert_axes(ctx, inside, (*windows.batch, 1), [len(windows.batch)])
        index = ctx.op.Where(inside, scatter.index, ctx.shape(outside))
    else:
        index = _spare_outside(ctx, scatter, windows.sizes[axis], outside[0])
    moved = replace(scatter, windows=replace(windows, shape=wide), index=index)
    return static_slice(ctx, _updated(ctx, x, updates, moved), wide, [0] * len(wide), windows.shape)


def _spare_outside(ctx: LoweringContext, scatter: _Scatter, size: Any, spare: Any) -> ir.Value:
    """Starts of windows, with `spare` for those outside; as unsigned numbers the negative ones are the largest."""
    index, unsigned = scatter.given, np.dtype(np.uint32)
    source = index.producer()
    given = source.inputs[0] if source is not None and source.op_type == "Cast" else None
    narrow = given is not None and given.dtype in (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32)
    fits = not is_symbolic_dim(spare) and spare <= np.iinfo(np.int32).max and same_dimension(size, 1)
    if given is None or not narrow or not fits or not ctx.target.runs("Min", ir.DataType.UINT32):
        return ctx.op.Where(scatter.inside, scatter.index, ctx.dim(spare))
    return ctx.cast(ctx.op.Min(ctx.cast(given, unsigned), ctx.const(spare, unsigned)), np.int64)


def _are_many(updates: Sequence[Any], shape: Sequence[Any]) -> bool:
    """Whether copying what is updated costs less than a choice among the updates."""
    sizes = (*updates, *shape)
    static = not any(map(is_symbolic_dim, sizes))
    return static and math.prod(updates) >= 2 * math.prod(shape)


def _updated(ctx: LoweringContext, x: ir.Value, updates: ir.Value, scatter: _Scatter) -> ir.Value:
    windows = scatter.windows
    batch = [Axis(True, axis) for axis in range(len(windows.batch))]
    reduction = scatter.update.reduction
    by_element = scatter.width == 1 and not windows.rest and same_dimension(windows.sizes[windows.indexed[0]], 1)
    in_place = len(windows.batch) == len(windows.shape) and all(one == other for one, other in windows.paired.items())
    if by_element and in_place:
        updates = windows.arrange(ctx, updates, windows.axes, batch)
        return ctx.op.ScatterElements(x, scatter.index, updates, axis=windows.indexed[0], reduction=reduction)
    # Index vectors reach up to the last axis where windows differ; behind it whole rows are updated.
    partial = [axis for axis in windows.rest if not same_dimension(windows.sizes[axis], windows.shape[axis])]
    columns = range(max((*windows.indexed, *windows.paired, *partial), default=0) + 1)
    spans = [axis for axis in columns if axis not in windows.paired and not same_dimension(windows.sizes[axis], 1)]
    vectors = _vectors(ctx, scatter, columns, spans)
    rows = [Axis(False, axis) for axis in (*spans, *range(len(columns), len(windows.shape)))]
    updates = windows.arrange(ctx, updates, windows.axes, [*batch, *rows])
    return ctx.op.ScatterND(x, vectors, updates, reduction=reduction)


def _vectors(ctx: LoweringContext, scatter: _Scatter, columns: range, spans: Sequence[int]) -> ir.Value:
    """For each update a vector with a number for each of the leading axes: (batch, windows along spans, columns)."""
    windows, width = scatter.windows, scatter.width
    rank = len(windows.batch)

    def in_column(value: ir.Value, axis: int, *, behind: int) -> ir.Value:
        """A value as one number of the vectors, the others being 0; `behind` axes of size 1 are put in front of it."""
        value = ctx.op.Unsqueeze(value, ctx.const(range(-behind - 1, 0), np.int64))
        if len(columns) == 1:
            return value
        return ctx.op.Mul(value, ctx.const(np.arange(len(columns)) == axis, np.int64))

    if width > 1 and windows.indexed == tuple(columns):
        terms = [ctx.op.Unsqueeze(scatter.index, ctx.const(range(rank, rank + len(spans)), np.int64))]
    else:
        terms = [
            in_column(number_of(ctx, scatter.index, column, width, rank), axis, behind=len(spans))
            for column, axis in enumerate(windows.indexed)
        ]
    for axis, other in windows.paired.items():
        line = index_range(ctx, windows.batch[other])
        terms.append(in_column(line, axis, behind=rank - other - 1 + len(spans)))
    if spans:
        terms.append(window_offsets(ctx, [1 if axis in windows.paired else windows.sizes[axis] for axis in columns]))
    if not terms:
        terms.append(ctx.const(np.zeros(len(columns)), np.int64))
    vectors = functools.reduce(ctx.op.Add, terms)
    if windows.indexed:
        return vectors
    return ctx.expand(vectors, (*windows.batch, *(windows.sizes[axis] for axis in spans), len(columns)))
