"""Positions of extremes: argmax, argmin."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin

# Of more booleans the maximum takes longer than that of bytes, up to five times, between two Casts.
_FEW = 1024


def _arg_extremum(ctx: LoweringContext, x: ir.Value, *, op_type: str, axes: tuple[int, ...], index_dtype: Any) -> Any:
    (axis,) = axes
    dtype = ctx.dtype(x)
    if dtype == np.bool_:
        x = ctx.cast(x, np.uint8)
    position = ctx.op(op_type, x, axis=axis, keepdims=0)
    if "float" in dtype.name and ctx.constant_value(x) is None and ctx.range(x).nan:
        # To JAX a NaN is the extreme: the first one is found. ONNX leaves it open.
        is_nan, along = ctx.op.IsNaN(x), ctx.const([axis], np.int64)
        marks = ctx.cast(is_nan, np.uint8)
        first_nan = ctx.op.ArgMax(marks, axis=axis, keepdims=0)
        sizes = ctx.avals_in[0].shape
        few = all(isinstance(size, int) for size in sizes) and math.prod(sizes) <= _FEW
        if few and ctx.target.runs("ReduceMax", ir.DataType.BOOL):
            any_nan = ctx.op.ReduceMax(is_nan, along, keepdims=0)  # as in the maximum of x
        else:
            any_nan = ctx.cast(ctx.op.ReduceMax(marks, along, keepdims=0), np.bool_)
        position = ctx.op.Where(any_nan, first_nan, position)
    return ctx.cast(position, index_dtype)


plugin.lowering("argmax")(functools.partial(_arg_extremum, op_type="ArgMax"))
plugin.lowering("argmin")(functools.partial(_arg_extremum, op_type="ArgMin"))
