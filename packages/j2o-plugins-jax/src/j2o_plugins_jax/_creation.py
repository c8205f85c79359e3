"""Arrays from nothing: iota, empty, and the sizes of symbolic dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin
from ._shapes import insert_axes
from .indexing._indices import index_range


@plugin.lowering("iota", ignores=("sharding",))
def _iota(ctx: LoweringContext, *_: ir.Value, dtype: Any, shape: Sequence[Any], dimension: int) -> ir.Value:
    size = shape[dimension]
    # ONNX's Range of floats adds up its steps, and the rounding errors with them.
    line = ctx.cast(index_range(ctx, size), dtype)
    placed = [size] + [1] * (len(shape) - dimension - 1)
    return ctx.expand(insert_axes(ctx, line, placed, range(1, len(placed))), shape)


@plugin.lowering("empty", ignores=("out_sharding",))
def _empty(ctx: LoweringContext, *_: ir.Value, dtype: Any, shape: Sequence[Any]) -> ir.Value:
    return ctx.expand(ctx.const(0, dtype), shape)  # JAX's own lowering fills it with zeros too


@plugin.lowering("empty2", ignores=("memory_space",))
def _empty2(ctx: LoweringContext, *, dtype: Any) -> ir.Value:
    return ctx.const(0, dtype)


@plugin.lowering("dim_as_value")
def _dim_as_value(ctx: LoweringContext, *, dim: Any) -> ir.Value:
    return ctx.cast(ctx.dim(dim), ctx.avals_out[0].dtype)


@plugin.lowering("dimension_size")
def _dimension_size(ctx: LoweringContext, x: ir.Value, *, dimension: int) -> ir.Value:
    return ctx.cast(ctx.dim(ctx.avals_in[0].shape[dimension]), ctx.avals_out[0].dtype)
