"""Elementwise arithmetic that ONNX has an operator for: add, mul, neg, exp, ..."""

from __future__ import annotations

import onnx_ir as ir
from j2o_core import LoweringContext

from ._plugin import plugin


def _elementwise(op_type: str, **attrs: object) -> None:
    del op_type, attrs


for _name, _op_type in {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "neg": "Neg",
    "sin": "Sin",
    "exp": "Exp",
}.items():

    @plugin.lowering(_name)
    def _rule(ctx: LoweringContext, *operands: ir.Value, _op_type: str = _op_type, **_: object) -> ir.Value:
        return ctx.op(_op_type, *operands)  # type: ignore[no-any-return]
