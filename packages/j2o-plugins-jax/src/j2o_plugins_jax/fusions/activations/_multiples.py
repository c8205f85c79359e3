"""Values as multiples of others, by multiplication or division."""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter


def number_times(rw: Rewriter, value: ir.Value) -> tuple[float, ir.Value]:
    """A value as a number times another value."""
    node = rw.producer(value, "Mul", "Div")
    if node is None:
        return 1.0, value
    for place in (1, 0) if node.op_type == "Mul" else (1,):
        number, rest = rw.scalar(node.inputs[place]), node.inputs[1 - place]
        if number and rest is not None and rw.same_shape(rest, value):
            return number if node.op_type == "Mul" else 1 / number, rest
    return 1.0, value
