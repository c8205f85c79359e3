"""Primitives that pass values on, for the sake of devices and of the compiler. j2o-core takes out the common ones."""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import LoweringContext

from ._plugin import plugin


def _first(ctx: LoweringContext, x: ir.Value, *_: ir.Value) -> ir.Value:
    del ctx
    return x


for _primitive, _ignores in {
    "layout_constraint": ("layout",),
    "preduced": ("axes",),
    "reduced_vary_cast": ("axes",),
    "reduced_vary_cast_p": ("axes",),  # of JAX 0.10
    "reshard": ("concrete_mesh", "dst_sharding"),
    "stage": (),
    "vary_unreduced_cast": ("axes",),
    "vary_unreduced_cast_p": ("axes",),  # of JAX 0.10
}.items():
    plugin.lowering(_primitive, ignores=_ignores)(_first)


@plugin.lowering("tie")
def _tie(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    del ctx, x
    return y


@plugin.lowering("dce_sink", ignores=("prevent_mlir_dce",))
def _dce_sink(ctx: LoweringContext, *_: ir.Value) -> tuple[ir.Value, ...]:
    del ctx
    return ()
