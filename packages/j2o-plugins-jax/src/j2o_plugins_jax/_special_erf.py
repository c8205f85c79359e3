"""The error function and its relatives: erf, erfc, erf_inv."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


@plugin.lowering("erf")
def _erf(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return ctx.op.Erf(x)


@plugin.lowering("erfc")
def _erfc(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return ctx.op.Sub(ctx.const(1, x), ctx.op.Erf(x))
