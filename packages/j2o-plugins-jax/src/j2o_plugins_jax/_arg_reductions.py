"""Positions of extremes: argmax, argmin."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _arg_extremum(ctx: LoweringContext, x: ir.Value, *, op_type: str, axes: tuple[int, ...], index_dtype: Any) -> Any:
    (axis,) = axes
    dtype = ctx.dtype(x)
    if dtype == np.bool_:
        x = ctx.cast(x, np.uint8)
    position = ctx.op(op_type, x, axis=axis, keepdims=0)
    if "float" in dtype.name and ctx.constant_value(x) is None and ctx.range(x).nan:
        # To JAX a NaN is the extreme: the first one is found. ONNX leaves it open.
        is_nan = ctx.cast(ctx.op.IsNaN(x), np.uint8)
        first_nan = ctx.op.ArgMax(is_nan, axis=axis, keepdims=0)
        any_nan = ctx.op.ReduceMax(is_nan, ctx.const([axis], np.int64), keepdims=0)
        position = ctx.op.Where(ctx.cast(any_nan, np.bool_), first_nan, position)
    return ctx.cast(position, index_dtype)


plugin.lowering("argmax")(functools.partial(_arg_extremum, op_type="ArgMax"))
plugin.lowering("argmin")(functools.partial(_arg_extremum, op_type="ArgMin"))
