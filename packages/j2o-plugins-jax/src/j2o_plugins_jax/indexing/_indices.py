"""Run-time indices as ONNX takes them: int64, and inside the axis, since ONNX Runtime stops at any other."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax.export import is_symbolic_dim
from jax.extend.core import InconclusiveDimensionOperation

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension
from j2o_core.simplify import FOLD_LIMIT_BYTES

from .._shapes import drop_axes

# No axis has a place beyond. Numbers that need more than 32 bits would be clamped by Where, which takes long.
_LAST = np.iinfo(np.int32).max


def index_range(ctx: LoweringContext, size: Any) -> ir.Value:
    """The indices 0, 1, ... of an axis of this size, symbolic or not, as int64; a constant if it is small."""
    if not is_symbolic_dim(size) and size * 8 <= FOLD_LIMIT_BYTES:
        return ctx.const(np.arange(size), np.int64)
    return ctx.op.Range(ctx.const(0, np.int64), ctx.dim(size), ctx.const(1, np.int64))


def as_int64(ctx: LoweringContext, index: ir.Value) -> ir.Value:
    """An index of any integer type as int64; unsigned ones beyond every axis become the largest of int32."""
    if ctx.dtype(index) in (np.uint32, np.uint64):
        index = ctx.op.Min(index, ctx.const(_LAST, index))
    return ctx.cast(index, np.int64)


def index_vectors(ctx: LoweringContext, indices: ir.Value, shape: Sequence[Any]) -> ir.Value:
    """Indices of this shape as int64, without their last axis where a vector is one number."""
    # The axis goes first, so that it cancels with the reshape that made it.
    indices = drop_axes(ctx, indices, shape[:-1], [len(shape) - 1]) if same_dimension(shape[-1], 1) else indices
    return as_int64(ctx, indices)


def clamp_index(ctx: LoweringContext, index: ir.Value, upper: Any) -> ir.Value:
    """An int64 index in [0, upper]; `upper` is a size, symbolic or not."""
    constant = ctx.constant_value(index)
    if constant is not None and _is_inside(constant, upper):
        return index
    if constant is not None and not is_symbolic_dim(upper):
        return ctx.const(np.clip(constant, 0, max(int(upper), 0)), np.int64)
    return ctx.op.Clip(index, ctx.const(0, np.int64), ctx.dim(upper))


def _is_inside(constant: np.ndarray[Any, Any], upper: Any) -> bool:
    if constant.size == 0:
        return True
    try:
        return bool(constant.min() >= 0 and upper - int(constant.max()) >= 0)
    except InconclusiveDimensionOperation:
        return False


def clamp_indices(ctx: LoweringContext, index: ir.Value, uppers: Sequence[Any]) -> ir.Value:
    """Index vectors (see `index_vectors`) in [0, upper], with an upper end for each of their numbers."""
    if len(uppers) == 1:
        return clamp_index(ctx, index, uppers[0])
    constant = ctx.constant_value(index)
    if constant is not None:
        if all(_is_inside(constant[..., column], upper) for column, upper in enumerate(uppers)):
            return index
        if not any(map(is_symbolic_dim, uppers)):
            return ctx.const(np.clip(constant, 0, np.maximum(np.array(uppers, np.int64), 0)), np.int64)
    return ctx.op.Min(ctx.op.Max(index, ctx.const(0, np.int64)), ctx.shape(uppers))


def is_inside(ctx: LoweringContext, index: ir.Value, clamped: ir.Value, width: int) -> ir.Value | None:
    """Which index vectors are left as they are by clamping; None if all are, as far as is known at export."""
    raw, inside = ctx.constant_value(index), ctx.constant_value(clamped)
    if index is clamped or width == 0 or (raw is not None and inside is not None and np.array_equal(raw, inside)):
        return None
    same = ctx.op.Equal(index, clamped)
    if width > 1:
        same = ctx.op.ReduceMin(same, ctx.const([-1], np.int64), keepdims=0)
    return same


def number_of(ctx: LoweringContext, index: ir.Value, column: int, width: int, rank: int) -> ir.Value:
    """One number of each index vector; `rank` is that of the vectors' batch."""
    if width == 1:
        return index
    constant = ctx.constant_value(index)
    if constant is not None:
        return ctx.const(constant[..., column], np.int64)
    return ctx.op.Gather(index, ctx.const(column, np.int64), axis=rank)


def window_offsets(ctx: LoweringContext, sizes: Sequence[Any]) -> ir.Value:
    """Offsets from an index vector to each element of a window: an axis per size that is not 1, then the vector."""
    spans = [column for column, size in enumerate(sizes) if not same_dimension(size, 1)]
    if not any(map(is_symbolic_dim, sizes)):
        grid = np.moveaxis(np.indices(tuple(sizes)), 0, -1)
        return ctx.const(grid.reshape([*(sizes[column] for column in spans), len(sizes)]), np.int64)

    def along(position: int, column: int) -> ir.Value:
        line = index_range(ctx, sizes[column])
        line = ctx.op.Unsqueeze(line, ctx.const(range(1, len(spans) - position + 1), np.int64))
        return ctx.op.Mul(line, ctx.const(np.arange(len(sizes)) == column, np.int64))

    return functools.reduce(ctx.op.Add, itertools.starmap(along, enumerate(spans)))


def as_vector(ctx: LoweringContext, scalars: Sequence[ir.Value]) -> ir.Value:
    """Scalars side by side in a vector."""
    return ctx.op.Concat(*(ctx.reshape(scalar, (1,)) for scalar in scalars), axis=0)
