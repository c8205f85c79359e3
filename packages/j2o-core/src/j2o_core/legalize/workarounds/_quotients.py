"""Integer reciprocals, which the runtime merges into a product as if they were exact: (1 / y) * z becomes z / y."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from .._composer import Composer
from .._emitter import read_constant

T = ir.DataType


def reciprocal(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """1 / y as (y == 1) - (y == -1), where a product reads it."""
    one, y = node.inputs
    number = read_constant(one)
    if y is None or y.dtype not in (T.INT32, T.INT64) or number is None or number.size != 1 or number.item() != 1:
        return None
    if all(user.op_type != "Mul" for user, _ in node.outputs[0].uses()):
        return None
    shape = node.outputs[0].shape
    above, below = (c.op("Equal", y, c.const(sign * number, y), dtype=T.BOOL, shape=shape) for sign in (1, -1))
    return [c.op("Sub", c.cast(above, y.dtype), c.cast(below, y.dtype))]
