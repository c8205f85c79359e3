"""Primitives that are one operator of ONNX on the same operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from j2o_core import LoweringContext


def natural(op_type: str) -> Callable[..., Any]:
    """The rule of a primitive that an operator computes for every dtype."""

    def rule(ctx: LoweringContext, *operands: ir.Value) -> Any:
        return ctx.op(op_type, *operands)

    return rule
