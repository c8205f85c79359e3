"""Exponentials, logarithms, trigonometric and hyperbolic functions of real numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _natural(ctx: LoweringContext, x: ir.Value, *, op_type: str, **_: Any) -> Any:
    return ctx.op(op_type, x)


for _primitive, _op_type in {
    "exp": "Exp",
    "log": "Log",
    "sin": "Sin",
    "cos": "Cos",
    "tanh": "Tanh",
}.items():
    plugin.lowering(_primitive)(functools.partial(_natural, op_type=_op_type))


@plugin.lowering("logistic")
def _logistic(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    if ctx.dtype(x) != np.float64:
        return ctx.op.Sigmoid(x)
    # Sigmoid's kernel has an absolute error of 6e-17, which is a wrong digit from x = -20 on.
    one = ctx.const(1, x)
    return ctx.op.Div(one, ctx.op.Add(one, ctx.op.Exp(ctx.op.Neg(x))))
