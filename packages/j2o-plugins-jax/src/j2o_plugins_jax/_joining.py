"""Arrays joined and split along an axis: concatenate, split, stack, unstack, tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin
from ._shapes import insert_axes


@plugin.lowering("concatenate")
def _concatenate(ctx: LoweringContext, *operands: ir.Value, dimension: int) -> Any:
    return ctx.op.Concat(*operands, axis=dimension)


@plugin.lowering("stack")
def _stack(ctx: LoweringContext, *operands: ir.Value, axis: int) -> Any:
    shape = list(ctx.avals_in[0].shape)
    shape.insert(axis, 1)
    return ctx.op.Concat(*(insert_axes(ctx, operand, shape, [axis]) for operand in operands), axis=axis)


@plugin.lowering("split")
def _split(ctx: LoweringContext, x: ir.Value, *, sizes: Sequence[Any], axis: int) -> Sequence[ir.Value]:
    if len(sizes) == 1:
        return [x]
    parts: tuple[ir.Value, ...] = ctx.op.Split(x, ctx.shape(sizes), axis=axis, outputs=len(sizes))
    return parts


@plugin.lowering("unstack")
def _unstack(ctx: LoweringContext, x: ir.Value, *, axis: int) -> Sequence[ir.Value]:
    count = len(ctx.avals_out)
    if count < 2:
        parts: Sequence[ir.Value] = [x] * count
    else:
        parts = ctx.op.Split(x, ctx.const([1] * count, np.int64), axis=axis, outputs=count)
    return [ctx.reshape(part, aval.shape) for part, aval in zip(parts, ctx.avals_out, strict=True)]


@plugin.lowering("tile")
def _tile(ctx: LoweringContext, x: ir.Value, *, reps: Sequence[Any]) -> Any:
    return ctx.op.Tile(x, ctx.shape(reps))
