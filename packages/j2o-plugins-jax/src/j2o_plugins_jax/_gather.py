"""gather in all its modes: Slice for constant starts, else Gather, GatherElements or GatherND, whichever fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from jax import lax

from j2o_core import LoweringContext

from ._indices import clamp_indices, index_range, index_vectors, is_inside, number_of, same_size, window_offsets
from ._plugin import plugin
from ._shapes import drop_axes, insert_axes
from ._slicing import dynamic_slice, static_slice


@dataclass(frozen=True)
class _Axis:
    """What an axis stands for: an axis of the indices, or a window along an axis of the operand."""

    of_indices: bool
    number: int


@dataclass
class _Labelled:
    """A value whose axes are labelled."""

    value: ir.Value
    axes: list[_Axis]


@dataclass(frozen=True)
class _Plan:
    """A gather: `shape` of the operand, `batch` shape of the indices, and of each operand axis what happens to it.

    Attributes:
        shape: shape of the operand.
        batch: shape of the indices without their last axis.
        sizes: size of the window along each axis of the operand.
        indexed: axes of the operand that the index vectors point into, in their order.
        paired: for axes of the operand that run along with an axis of the indices, that axis.
        result: the axes of the result.
    """

    shape: tuple[Any, ...]
    batch: tuple[Any, ...]
    sizes: tuple[Any, ...]
    indexed: tuple[int, ...]
    paired: dict[int, int]
    result: tuple[_Axis, ...]

    @property
    def rest(self) -> list[int]:
        """Axes of the operand that are taken as they are."""
        return [axis for axis in range(len(self.shape)) if axis not in self.indexed and axis not in self.paired]

    @property
    def unpaired(self) -> list[int]:
        """Axes of the indices that no axis of the operand runs along with."""
        return [axis for axis in range(len(self.batch)) if axis not in self.paired.values()]


@plugin.lowering("gather")
def _gather(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    *,
    dimension_numbers: lax.GatherDimensionNumbers,
    slice_sizes: Sequence[Any],
    mode: lax.GatherScatterMode,
    fill_value: Any,
    **_: Any,
) -> ir.Value:
    result = ctx.avals_out[0].shape
    fill = ctx.const(0 if fill_value is None else fill_value, ctx.avals_out[0].dtype)
    shape = ctx.avals_in[0].shape
    if any(same_size(size, 0) for size in (*shape, *result)):
        return ctx.expand(fill, result)
    plan = _plan(shape, ctx.avals_in[1].shape[:-1], dimension_numbers, slice_sizes, len(result))
    index = index_vectors(ctx, indices, ctx.avals_in[1].shape)
    # XLA clamps even where JAX promises that all is inside, and `x[i]` promises that.
    clamped = clamp_indices(ctx, index, [plan.shape[axis] - plan.sizes[axis] for axis in plan.indexed])
    gathered = _arranged(ctx, _gathered(ctx, x, clamped, plan), plan)
    if mode != lax.GatherScatterMode.FILL_OR_DROP:
        return gathered
    inside = is_inside(ctx, index, clamped, len(plan.indexed))
    if inside is None:
        return gathered
    windows = [axis for axis, label in enumerate(plan.result) if not label.of_indices]
    sizes = [size if label.of_indices else 1 for size, label in zip(result, plan.result, strict=True)]
    return ctx.op.Where(insert_axes(ctx, inside, sizes, windows), gathered, fill)  # type: ignore[no-any-return]


def _plan(
    shape: Sequence[Any], batch: Sequence[Any], dnums: lax.GatherDimensionNumbers, sizes: Sequence[Any], rank: int
) -> _Plan:
    paired = dict(zip(dnums.operand_batching_dims, dnums.start_indices_batching_dims, strict=True))
    windows = iter(axis for axis in range(len(shape)) if axis not in dnums.collapsed_slice_dims and axis not in paired)
    batches = iter(range(len(batch)))
    result = [
        _Axis(False, next(windows)) if axis in dnums.offset_dims else _Axis(True, next(batches)) for axis in range(rank)
    ]
    return _Plan(tuple(shape), tuple(batch), tuple(sizes), tuple(dnums.start_index_map), paired, tuple(result))


def _gathered(ctx: LoweringContext, x: ir.Value, index: ir.Value, plan: _Plan) -> _Labelled:
    """The windows, with the axes in any order; axes of size 1 may be missing or too many."""
    if not plan.paired and all(same_size(size, 1) for size in plan.batch):
        return _one_window(ctx, x, index, plan)
    x, index, plan = _constant_starts(ctx, x, index, plan)
    if len(plan.indexed) <= 1 and not plan.paired:
        return _along_one_axis(ctx, x, index, plan)
    if len(plan.indexed) == 1 and not plan.rest and same_size(plan.sizes[plan.indexed[0]], 1):
        return _by_element(ctx, x, index, plan)
    return _by_vector(ctx, x, index, plan)


def _one_window(ctx: LoweringContext, x: ir.Value, index: ir.Value, plan: _Plan) -> _Labelled:
    starts = [ctx.const(0, np.int64)] * len(plan.shape)
    width = len(plan.indexed)
    flat = ctx.reshape(index, () if width == 1 else (width,))
    for column, axis in enumerate(plan.indexed):
        starts[axis] = number_of(ctx, flat, column, width, 0)
    window = dynamic_slice(ctx, x, plan.shape, starts, plan.sizes)
    return _Labelled(window, [_Axis(False, axis) for axis in range(len(plan.shape))])


def _constant_starts(
    ctx: LoweringContext, x: ir.Value, index: ir.Value, plan: _Plan
) -> tuple[ir.Value, ir.Value, _Plan]:
    """Cut what all windows have in common, so that only the axes where they differ are indexed."""
    starts: list[Any] = [0] * len(plan.shape)
    kept = []
    numbers = [number_of(ctx, index, column, len(plan.indexed), len(plan.batch)) for column in range(len(plan.indexed))]
    for column, axis in enumerate(plan.indexed):
        constant = ctx.constant_value(numbers[column])
        if constant is not None and (constant == constant.flat[0]).all():
            starts[axis] = int(constant.flat[0])
        elif not same_size(plan.sizes[axis], plan.shape[axis]):
            kept.append(column)
    indexed = tuple(plan.indexed[column] for column in kept)
    lengths = [
        plan.shape[axis] if axis in indexed or axis in plan.paired else plan.sizes[axis]
        for axis in range(len(plan.shape))
    ]
    limits = [start + length for start, length in zip(starts, lengths, strict=True)]
    x = static_slice(ctx, x, plan.shape, starts, limits)
    if len(kept) == 1:
        index = numbers[kept[0]]
    elif len(kept) < len(plan.indexed):
        index = ctx.op.Concat(
            *(insert_axes(ctx, numbers[column], (*plan.batch, 1), [len(plan.batch)]) for column in kept), axis=-1
        )
    return x, index, _Plan(tuple(lengths), plan.batch, plan.sizes, indexed, plan.paired, plan.result)


def _along_one_axis(ctx: LoweringContext, x: ir.Value, index: ir.Value, plan: _Plan) -> _Labelled:
    """Gather: its indices may have any rank and take their place in the operand's shape."""
    batch = [_Axis(True, axis) for axis in range(len(plan.batch))]
    axes = [_Axis(False, axis) for axis in range(len(plan.shape))]
    if not plan.indexed:
        return _Labelled(ctx.expand(x, (*plan.batch, *plan.shape)), [*batch, *axes])
    (axis,) = plan.indexed
    window = []
    if not same_size(plan.sizes[axis], 1):
        index = insert_axes(ctx, index, (*plan.batch, 1), [len(plan.batch)])
        index = ctx.op.Add(index, index_range(ctx, plan.sizes[axis]))
        window = [_Axis(False, axis)]
    return _Labelled(ctx.op.Gather(x, index, axis=axis), [*axes[:axis], *batch, *window, *axes[axis + 1 :]])


def _by_element(ctx: LoweringContext, x: ir.Value, index: ir.Value, plan: _Plan) -> _Labelled:
    """GatherElements: every axis but one runs along with an axis of the indices."""
    (axis,) = plan.indexed
    batch = [_Axis(True, number) for number in range(len(plan.batch))]
    if len(plan.batch) == len(plan.shape) and all(one == other for one, other in plan.paired.items()):
        return _Labelled(ctx.op.GatherElements(x, index, axis=axis), batch)
    paired = sorted(plan.paired, key=lambda one: plan.paired[one])
    lead = [plan.paired[one] for one in paired]
    x = ctx.op.Transpose(x, perm=[*paired, axis])
    index = ctx.op.Transpose(index, perm=[*lead, *plan.unpaired])
    lead_sizes, sizes = ([plan.batch[one] for one in axes] for axes in (lead, plan.unpaired))
    index = ctx.reshape(index, [*lead_sizes, math.prod(sizes)])
    elements = ctx.reshape(ctx.op.GatherElements(x, index, axis=len(lead)), [*lead_sizes, *sizes])
    return _Labelled(elements, [batch[one] for one in (*lead, *plan.unpaired)])


def _by_vector(ctx: LoweringContext, x: ir.Value, index: ir.Value, plan: _Plan) -> _Labelled:
    """GatherND: index vectors into the leading axes, behind axes that run along."""
    paired = sorted(plan.paired, key=lambda one: plan.paired[one])
    lead = [*(plan.paired[one] for one in paired), *plan.unpaired]
    axes = [_Axis(True, one) for one in lead]
    x = ctx.op.Transpose(x, perm=[*paired, *plan.indexed, *plan.rest])
    if not plan.indexed:
        sizes = [*(plan.batch[one] for one in lead), *(plan.shape[one] for one in plan.rest)]
        x = insert_axes(
            ctx,
            x,
            [*sizes[: len(paired)], *[1] * len(plan.unpaired), *sizes[len(lead) :]],
            range(len(paired), len(lead)),
        )
        return _Labelled(ctx.expand(x, sizes), [*axes, *(_Axis(False, one) for one in plan.rest)])
    if len(plan.indexed) == 1:
        index = insert_axes(ctx, index, (*plan.batch, 1), [len(plan.batch)])
    index = ctx.op.Transpose(index, perm=[*lead, len(plan.batch)])
    windows = [axis for axis in plan.indexed if not same_size(plan.sizes[axis], 1)]
    if windows:
        places = range(len(lead), len(lead) + len(windows))
        index = ctx.op.Unsqueeze(index, ctx.const(places, np.int64))
        index = ctx.op.Add(index, window_offsets(ctx, [plan.sizes[axis] for axis in plan.indexed]))
    axes += [_Axis(False, axis) for axis in (*windows, *plan.rest)]
    return _Labelled(ctx.op.GatherND(x, index, batch_dims=len(paired)), axes)


def _arranged(ctx: LoweringContext, gathered: _Labelled, plan: _Plan) -> ir.Value:
    """The axes in the order of the result, those of size 1 dropped or added."""
    value, axes = gathered.value, gathered.axes

    def sizes(labels: Sequence[_Axis]) -> list[Any]:
        return [plan.batch[one.number] if one.of_indices else plan.sizes[one.number] for one in labels]

    spare = [position for position, label in enumerate(axes) if label not in plan.result]
    axes = [label for label in axes if label in plan.result]
    value = drop_axes(ctx, value, sizes(axes), spare)
    present = [label for label in plan.result if label in axes]
    value = ctx.op.Transpose(value, perm=[axes.index(label) for label in present])
    missing = [position for position, label in enumerate(plan.result) if label not in axes]
    return insert_axes(ctx, value, sizes(plan.result), missing)
