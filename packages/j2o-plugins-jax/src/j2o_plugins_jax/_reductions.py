"""Reductions over fixed axes: ReduceSum, ReduceMax, ReduceMin, ReduceProd."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _reduce(ctx: LoweringContext, x: ir.Value, *, op_type: str, axes: tuple[int, ...], **_: Any) -> Any:
    # ONNX reads empty axes as "all axes" unless told otherwise, JAX as "none".
    return ctx.op(op_type, x, ctx.const(axes, np.int64), keepdims=0, noop_with_empty_axes=1 if not axes else None)


for _primitive, _op_type in {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}.items():
    plugin.lowering(_primitive)(functools.partial(_reduce, op_type=_op_type))
