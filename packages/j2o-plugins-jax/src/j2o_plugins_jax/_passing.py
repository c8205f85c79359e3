"""Primitives that pass values on: hints on placement, order, naming and differentiation that ONNX has no need of."""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _first(ctx: LoweringContext, x: ir.Value, *_: ir.Value) -> ir.Value:
    del ctx
    return x


def _all(ctx: LoweringContext, *operands: ir.Value) -> tuple[ir.Value, ...]:
    del ctx
    return operands


for _primitive, _ignores in {
    "copy": ("dst_spec", "src_spec"),
    "layout_constraint": ("layout",),
    "name": ("name",),
    "preduced": ("axes",),
    "reduced_vary_cast": ("axes",),
    "reduced_vary_cast_p": ("axes",),  # of JAX 0.10
    "reshard": ("concrete_mesh", "dst_sharding"),
    "sharding_constraint": ("context_mesh", "layout", "sharding", "unconstrained_dims"),
    "stage": (),
    "stop_gradient": (),
    "vary_unreduced_cast": ("axes",),
    "vary_unreduced_cast_p": ("axes",),  # of JAX 0.10
}.items():
    plugin.lowering(_primitive, ignores=_ignores)(_first)
for _primitive, _ignores in {
    "device_put": ("copy_semantics", "devices", "srcs"),
    "optimization_barrier": (),
    "pvary": ("axes",),
}.items():
    plugin.lowering(_primitive, ignores=_ignores)(_all)


@plugin.lowering("tie")
def _tie(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    del ctx, x
    return y


@plugin.lowering("dce_sink", ignores=("prevent_mlir_dce",))
def _dce_sink(ctx: LoweringContext, *_: ir.Value) -> tuple[ir.Value, ...]:
    del ctx
    return ()
