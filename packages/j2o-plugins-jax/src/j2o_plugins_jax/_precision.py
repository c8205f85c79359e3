"""Half precision: formulas of several operations are computed in float32 and rounded once, as XLA does it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext


def is_half(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a float narrower than float32."""
    return dtype.itemsize <= 2 and "float" in dtype.name


def in_float32(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The elementwise rule, computed in float32 for narrower operands."""

    @functools.wraps(rule)
    def wider(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Any:
        dtype = ctx.dtype(operands[0])
        if not is_half(dtype):
            return rule(ctx, *operands, **params)
        return ctx.cast(rule(ctx, *(ctx.cast(x, np.float32) for x in operands), **params), dtype)

    return wider
