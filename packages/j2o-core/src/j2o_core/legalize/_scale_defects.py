"""Scaled float64 products, whose factor the runtime keeps in float32 when it merges it into the product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ._composer import Composer
from ._emitter import read_constant


def scale(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Mul or Div by a number, next to a MatMul: the number written out along an axis, which is not merged.

    An operand without an axis that is known to be longer than 1 keeps the number, and its error of 3e-8.
    """
    if len(node.inputs) != 2 or node.outputs[0].dtype is not ir.DataType.DOUBLE or not _next_to_product(node):
        return None
    for position, value in enumerate(node.inputs):
        if value is None:
            return None
        number = read_constant(value)
        if number is None or number.size != 1 or (node.op_type == "Div" and position == 0):
            continue
        factor = np.float64(1) / number.reshape(()) if node.op_type == "Div" else number.reshape(())
        if np.float64(np.float32(factor)) == factor:
            return None
        shape = node.outputs[0].shape
        sizes = [size if isinstance(size, int) else 0 for size in shape] if shape is not None else []
        axis = next((axis for axis in reversed(range(len(sizes))) if sizes[axis] > 1), None)
        if axis is None:
            return None
        line = c.const(np.full((sizes[axis], *(1,) * (len(sizes) - axis - 1)), number.reshape(())), value)
        inputs = [line if value is other else other for other in node.inputs]
        return [c.op(node.op_type, *inputs, dtype=ir.DataType.DOUBLE, shape=shape, trusted=True)]
    return None


def _next_to_product(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None]
    readers = [user for user, _ in node.outputs[0].uses()]
    return any(other is not None and other.op_type in ("MatMul", "Transpose") for other in (*producers, *readers))
