"""Padding around and between elements; negative padding crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax.core import max_dim

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension

from ._plugin import plugin
from .indexing._slicing import static_slice


@plugin.lowering("pad")
def _pad(
    ctx: LoweringContext, x: ir.Value, value: ir.Value, *, padding_config: Sequence[tuple[Any, Any, Any]]
) -> ir.Value:
    shape = tuple(ctx.avals_in[0].shape)
    result = ctx.avals_out[0].shape
    if any(same_dimension(size, 0) for size in (*shape, *result)):
        return ctx.expand(value, result)  # nothing of `x` is left, or nothing at all
    lows, highs, interiors = zip(*padding_config, strict=True) if padding_config else ((), (), ())
    for axis, interior in enumerate(interiors):
        if not same_dimension(interior, 0):
            x, shape = _spread(ctx, x, shape, axis, interior, value)
    # Interior padding comes behind the last element too.
    highs = tuple(high - interior for high, interior in zip(highs, interiors, strict=True))
    return pad_or_crop(ctx, x, shape, lows, highs, value)


def pad_or_crop(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    lows: Sequence[Any],
    highs: Sequence[Any],
    value: ir.Value,
) -> ir.Value:
    """`x` with padding before and behind each axis; negative amounts crop, be it padding of the other side."""
    before, behind = ([max_dim(amount, 0) for amount in amounts] for amounts in (lows, highs))
    if not all(same_dimension(amount, 0) for amount in (*before, *behind)):
        x = ctx.op.Pad(x, ctx.shape([*before, *behind]), value)
        shape = [low + size + high for low, size, high in zip(before, shape, behind, strict=True)]
    starts = [max_dim(-low, 0) for low in lows]
    limits = [size - max_dim(-high, 0) for size, high in zip(shape, highs, strict=True)]
    return static_slice(ctx, x, shape, starts, limits)


def _spread(
    ctx: LoweringContext, x: ir.Value, shape: tuple[Any, ...], axis: int, interior: Any, value: ir.Value
) -> tuple[ir.Value, tuple[Any, ...]]:
    """`interior` pad values behind every element: (n) -> (n, 1) -> (n, 1 + interior) -> (n + n * interior)."""
    amounts = [0] * (2 * len(shape) + 2)
    amounts[-len(shape) + axis] = interior
    spread = ctx.op.Unsqueeze(x, ctx.const([axis + 1], np.int64))
    spread = ctx.op.Pad(spread, ctx.shape(amounts), value)
    wide = (*shape[:axis], shape[axis] * (interior + 1), *shape[axis + 1 :])
    return ctx.reshape(spread, wide), wide
