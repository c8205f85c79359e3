"""Primitives that pass values on: hints on placement, order, naming and differentiation that ONNX has no need of."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _first(ctx: LoweringContext, x: ir.Value, *_: ir.Value, **__: Any) -> ir.Value:
    del ctx
    return x


def _all(ctx: LoweringContext, *operands: ir.Value, **_: Any) -> tuple[ir.Value, ...]:
    del ctx
    return operands


for _primitive in (
    "copy",
    "copy_p",
    "layout_constraint",
    "mesh_cast",
    "name",
    "preduced",
    "reduced_vary_cast_p",
    "reshard",
    "sharding_constraint",
    "stage",
    "stop_gradient",
    "vary_unreduced_cast_p",
):
    plugin.lowering(_primitive)(_first)
for _primitive in ("device_put", "optimization_barrier", "pvary"):
    plugin.lowering(_primitive)(_all)


@plugin.lowering("tie")
def _tie(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    del ctx, x
    return y


@plugin.lowering("dce_sink")
def _dce_sink(ctx: LoweringContext, *_: ir.Value, **__: Any) -> tuple[ir.Value, ...]:
    del ctx
    return ()
