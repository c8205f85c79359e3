"""The error function and its relatives: erf, erfc, erf_inv."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import LoweringContext, Rewriter

from ._plugin import plugin


@plugin.lowering("erf")
def _erf(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    return ctx.op.Erf(x)


@plugin.lowering("erfc")
def _erfc(ctx: LoweringContext, x: ir.Value, **_: Any) -> Any:
    # Kept as an operator of ours until the fusions are done: GELU is written with erfc.
    return ctx.op("Erfc", x, domain="j2o")


@plugin.rewrite("Erfc", late=True)
def _expand_erfc(rw: Rewriter, node: ir.Node) -> Any:
    (x,) = node.inputs
    assert x is not None
    return rw.op.Sub(rw.const(1, x), rw.op.Erf(x))
