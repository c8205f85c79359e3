"""Values as multiples of others, by multiplication or division."""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter


def number_times(rw: Rewriter, value: ir.Value) -> tuple[float, ir.Value]:
    """A value as a number times another value."""
    for node, rest, number in rw.with_number(value, "Mul", "Div"):
        if number and rw.same_shape(rest, value):
            return number if node.op_type == "Mul" else 1 / number, rest
    return 1.0, value
