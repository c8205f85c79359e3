"""Run-time indices as ONNX takes them: int64, and inside the axis, since ONNX Runtime stops at any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext

_LAST = np.iinfo(np.int64).max


def as_int64(ctx: LoweringContext, index: ir.Value) -> ir.Value:
    """An index of any integer type as int64; what int64 cannot hold becomes its largest number."""
    if ctx.dtype(index) == np.uint64:
        index = ctx.op.Min(index, ctx.const(_LAST, np.uint64))
    return ctx.cast(index, np.int64)


def clamp_index(ctx: LoweringContext, index: ir.Value, upper: Any) -> ir.Value:
    """An int64 index in [0, upper]; `upper` is a size, symbolic or not."""
    constant = ctx.constant_value(index)
    if constant is not None and not is_symbolic_dim(upper):
        return ctx.const(np.clip(constant, 0, max(int(upper), 0)), np.int64)
    return ctx.op.Clip(index, ctx.const(0, np.int64), ctx.dim(upper))  # type: ignore[no-any-return]


def clamp_indices(ctx: LoweringContext, index: ir.Value, uppers: Sequence[Any]) -> ir.Value:
    """Index vectors (the last axis of an int64 array) in [0, upper], with an upper end for each of their numbers."""
    if len(uppers) == 1:
        return clamp_index(ctx, index, uppers[0])
    constant = ctx.constant_value(index)
    if constant is not None and not any(map(is_symbolic_dim, uppers)):
        return ctx.const(np.clip(constant, 0, np.maximum(np.array(uppers, np.int64), 0)), np.int64)
    return ctx.op.Min(ctx.op.Max(index, ctx.const(0, np.int64)), ctx.shape(uppers))  # type: ignore[no-any-return]


def as_vector(ctx: LoweringContext, scalars: Sequence[ir.Value]) -> ir.Value:
    """Scalars side by side in a vector."""
    parts = [ctx.reshape(scalar, (1,)) for scalar in scalars]
    return parts[0] if len(parts) == 1 else ctx.op.Concat(*parts, axis=0)


def same_size(left: Any, right: Any) -> bool:
    """Whether two sizes are known to be equal."""
    if is_symbolic_dim(left) != is_symbolic_dim(right):
        return False
    return bool(left == right)
