"""Slices with static and with run-time starts, and their updates."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension

from .._plugin import plugin
from .._shapes import insert_axes
from ._indices import as_int64, as_vector, clamp_index

_END = np.iinfo(np.int64).max
# Elements of an update, and of an array of which a copy takes longer than to set as many one by one.
_FEW, _MANY = 64, 2**15


@plugin.lowering("slice")
def _slice(
    ctx: LoweringContext,
    x: ir.Value,
    *,
    start_indices: Sequence[Any],
    limit_indices: Sequence[Any],
    strides: Sequence[int] | None,
) -> ir.Value:
    shape = ctx.avals_in[0].shape
    steps = strides if strides is not None else [1] * len(shape)
    return static_slice(ctx, x, shape, start_indices, limit_indices, steps)


def static_slice(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    starts: Sequence[Any],
    limits: Sequence[Any],
    steps: Sequence[int] | None = None,
) -> ir.Value:
    """`x[starts:limits:steps]` with one number per axis, which may be symbolic; `shape` is that of `x`."""
    steps = steps if steps is not None else [1] * len(shape)
    axes = [
        axis
        for axis in range(len(shape))
        if not (same_dimension(starts[axis], 0) and same_dimension(limits[axis], shape[axis]) and steps[axis] == 1)
    ]
    if not axes:
        return x
    begin = ctx.shape([_from_end(starts[axis], shape[axis]) for axis in axes])
    end = ctx.shape([_from_end(limits[axis], shape[axis]) for axis in axes])
    step = ctx.const([steps[axis] for axis in axes], np.int64) if any(steps[axis] != 1 for axis in axes) else None
    return ctx.op.Slice(x, begin, end, ctx.const(axes, np.int64), step)


def _from_end(position: Any, size: Any) -> Any:
    """A symbolic position as a number counted from the end, where it is one."""
    if not is_symbolic_dim(position):
        return position
    distance = position - size
    if is_symbolic_dim(distance):
        return position
    return _END if distance >= 0 else int(distance)


@plugin.lowering("dynamic_slice")
def _dynamic_slice(ctx: LoweringContext, x: ir.Value, *starts: ir.Value, slice_sizes: Sequence[Any]) -> ir.Value:
    return dynamic_slice(ctx, x, ctx.avals_in[0].shape, _clamped(ctx, starts, slice_sizes), slice_sizes)


def _clamped(ctx: LoweringContext, starts: Sequence[ir.Value], sizes: Sequence[Any]) -> list[ir.Value]:
    """The starts, moved so that the slice lies inside, as JAX does it."""
    return [
        clamp_index(ctx, as_int64(ctx, start), whole - size)
        for start, whole, size in zip(starts, ctx.avals_in[0].shape, sizes, strict=True)
    ]


def dynamic_slice(
    ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], starts: Sequence[ir.Value], sizes: Sequence[Any]
) -> ir.Value:
    """`x[starts : starts + sizes]` for starts that are int64 and clamped already."""
    cut = [axis for axis in range(len(shape)) if not same_dimension(sizes[axis], shape[axis])]
    begins = {axis: starts[axis] for axis in cut}
    single = [axis for axis in cut if same_dimension(sizes[axis], 1) and ctx.constant_value(begins[axis]) is None]
    ranges = [axis for axis in cut if axis not in single]
    part = _constant_part(ctx, x, begins, sizes) if ranges and not single else None
    if part is not None:
        x = part
    elif ranges:
        begin = as_vector(ctx, [begins[axis] for axis in ranges])
        end = ctx.op.Add(begin, ctx.shape([sizes[axis] for axis in ranges]))
        x = ctx.op.Slice(x, begin, end, ctx.const(ranges, np.int64))
    for axis in reversed(single):
        x = ctx.op.Gather(x, begins[axis], axis=axis)
    return insert_axes(ctx, x, sizes, single)


def _constant_part(
    ctx: LoweringContext, x: ir.Value, begins: dict[int, ir.Value], sizes: Sequence[Any]
) -> ir.Value | None:
    """The slice of a constant whose starts are constants, too: the weights of a layer in an unrolled loop."""
    index = [slice(0, size) for size in sizes]
    for axis, begin in begins.items():
        start = ctx.constant_value(begin)
        if start is None or is_symbolic_dim(sizes[axis]):
            return None
        index[axis] = slice(int(start), int(start) + sizes[axis])
    return ctx.constant_part(x, tuple(index))


@plugin.lowering("dynamic_update_slice")
def _dynamic_update_slice(ctx: LoweringContext, x: ir.Value, update: ir.Value, *starts: ir.Value) -> ir.Value:
    shape, sizes = (aval.shape for aval in ctx.avals_in[:2])
    return dynamic_update_slice(ctx, x, shape, update, sizes, _clamped(ctx, starts, sizes))


def dynamic_update_slice(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    update: ir.Value,
    sizes: Sequence[Any],
    starts: Sequence[ir.Value],
) -> ir.Value:
    """`x` with `x[starts : starts + sizes]` replaced, for starts that are int64 and clamped already."""
    if any(same_dimension(size, 0) for size in sizes):
        return x
    cut = [axis for axis in range(len(shape)) if not same_dimension(sizes[axis], shape[axis])]
    begins = {axis: starts[axis] for axis in cut}
    if not cut:
        return update
    if ctx.opset >= 24 and len(cut) == 1 and cut[0] > 0:
        return _update_cache(ctx, x, shape[0], update, begins)
    if _scatter_is_cheaper(shape, sizes, cut[-1] + 1):
        return _update_by_scatter(ctx, x, shape, update, sizes, begins)
    return _update_by_concat(ctx, x, shape, update, sizes, begins)


def _update_cache(
    ctx: LoweringContext, x: ir.Value, batch: Any, update: ir.Value, begins: dict[int, ir.Value]
) -> ir.Value:
    """TensorScatter-24, which copies once. It takes a start for each place of the first axis, so it cannot cut that."""
    ((axis, begin),) = begins.items()
    starts = ctx.expand(ctx.reshape(begin, (1,)), (batch,))
    return ctx.op.TensorScatter(x, update, starts, axis=axis)


def _scatter_is_cheaper(shape: Sequence[Any], sizes: Sequence[Any], rank: int) -> bool:
    """Whether the indices of the rows to write are few beside the elements, which Concat copies twice."""
    if any(map(is_symbolic_dim, (*shape, *sizes))):
        return False
    return bool(4 * rank * math.prod(sizes[:rank]) <= math.prod(shape))


def _update_by_scatter(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[int],
    update: ir.Value,
    sizes: Sequence[int],
    begins: dict[int, ir.Value],
) -> ir.Value:
    """ScatterND of the rows behind the last axis that is cut, or ScatterElements of few elements."""
    if is_set_in_place(shape, sizes) and ctx.target.runs("ScatterElements", x.dtype):
        return _set_elements(ctx, x, shape, update, sizes, begins)
    rank = max(begins) + 1
    begin = as_vector(ctx, [begins.get(axis, ctx.const(0, np.int64)) for axis in range(rank)])
    offsets = np.moveaxis(np.indices(sizes[:rank]), 0, -1)
    constant = ctx.constant_value(begin)
    if constant is not None:
        indices = ctx.const(offsets + constant, np.int64)
    elif offsets.any():
        indices = ctx.op.Add(begin, ctx.const(offsets, np.int64))
    else:  # one row, which needs no axes that count rows
        indices, update = begin, ctx.reshape(update, shape[rank:])
    return ctx.op.ScatterND(x, indices, update)


def is_set_in_place(shape: Sequence[Any], sizes: Sequence[Any]) -> bool:
    """Whether ScatterElements takes a few elements of many: it writes in place, ScatterND copies all in any case."""
    if any(map(is_symbolic_dim, (*shape, *sizes))):
        return False
    return bool(math.prod(sizes) <= _FEW and math.prod(shape) >= _MANY)


def _set_elements(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[int],
    update: ir.Value,
    sizes: Sequence[int],
    begins: dict[int, ir.Value],
) -> ir.Value:
    """ScatterElements along all axes, which are one."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    offsets = np.ravel_multi_index(tuple(np.indices(sizes).reshape(len(sizes), -1)), tuple(shape))
    places = [ctx.op.Mul(begin, ctx.const(strides[axis], np.int64)) for axis, begin in begins.items()]
    place = ctx.reshape(functools.reduce(ctx.op.Add, places), (1,))
    if offsets.any():
        place = ctx.op.Add(place, ctx.const(offsets, np.int64))
    flat, count = ctx.reshape(x, (math.prod(shape),)), math.prod(sizes)
    return ctx.reshape(ctx.op.ScatterElements(flat, place, ctx.reshape(update, (count,)), axis=0), shape)


def _update_by_concat(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    update: ir.Value,
    sizes: Sequence[Any],
    begins: dict[int, ir.Value],
) -> ir.Value:
    """A Concat of the slice before, the update, and the slice behind, along one axis after the other."""
    axis = min(begins)
    rest = {other: begin for other, begin in begins.items() if other != axis}
    begin = ctx.reshape(begins[axis], (1,))
    end = ctx.op.Add(begin, ctx.shape([sizes[axis]]))
    axes = ctx.const([axis], np.int64)
    before = ctx.op.Slice(x, ctx.const([0], np.int64), begin, axes)
    behind = ctx.op.Slice(x, end, ctx.const([_END], np.int64), axes)
    if rest:
        inner = [sizes[axis] if other == axis else size for other, size in enumerate(shape)]
        middle = ctx.op.Slice(x, begin, end, axes)
        update = _update_by_concat(ctx, middle, inner, update, sizes, rest)
    return ctx.op.Concat(before, update, behind, axis=axis)
