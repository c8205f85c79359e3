"""Conversions between dtypes: convert_element_type."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


@plugin.lowering("convert_element_type", ignores=("sharding", "weak_type"))
def _convert_element_type(ctx: LoweringContext, x: ir.Value, *, new_dtype: Any) -> Any:
    old, new = ctx.dtype(x), np.dtype(new_dtype)
    if jnp.issubdtype(old, np.floating) and jnp.issubdtype(new, np.integer):
        return _saturated(ctx, x, new)
    return ctx.cast(x, new)


def _saturated(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> Any:
    """Float to integer as XLA does it: NaN is 0, what is out of range goes to the nearer bound.

    ONNX leaves both undefined.
    """
    info = ml_dtypes.iinfo(new)
    low, high = int(info.min), int(info.max)
    # float32 holds the bounds of up to 16 bits, float64 those of up to 32.
    wide = np.dtype(np.float64 if info.bits > 16 or ctx.dtype(x) == np.float64 else np.float32)
    x = ctx.cast(x, wide)
    x = ctx.op.Where(ctx.op.IsNaN(x), ctx.const(0, wide), x)
    if info.bits <= 32:
        return ctx.cast(ctx.op.Clip(x, ctx.const(low, wide), ctx.const(high, wide)), new)
    # No float is the largest 64-bit integer: numbers above it are recognised by their power of two.
    over = ctx.op.GreaterOrEqual(x, ctx.const(float(high + 1), wide))
    inside = ctx.op.Where(over, ctx.const(0, wide), ctx.op.Max(x, ctx.const(low, wide)))
    return ctx.op.Where(over, ctx.const(high, new), ctx.cast(inside, new))
