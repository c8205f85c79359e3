"""Scaled products, whose factor the runtime merges into them: into float32, or into weights that overflow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .._composer import Composer
from .._emitter import read_constant


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


# Weights times the factor are told from the weights by their rounding alone inside these bounds.
_LEAST, _LARGEST = 1e-30, 1e30


def scaled_convolution(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Mul(Conv(x, w), s) as Mul(Reshape(Conv(x, w)), s), where w * s is not finite, or nothing."""
    for value, factor in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        conv = value.producer() if value is not None else None
        if conv is None or value is None or conv.op_type != "Conv" or (numbers := read_constant(factor)) is None:
            continue
        constants = [array for array in map(read_constant, conv.inputs[1:]) if array is not None and array.size]
        if not constants or numbers.size == 0 or numbers.dtype.kind != "f":
            continue
        with np.errstate(all="ignore"):
            sizes = np.abs(numbers.astype(np.float64))
            largest = max(float(np.abs(array).max()) for array in constants) * sizes.max()
            least = float(np.abs(constants[0]).max()) * sizes[sizes != 0].min(initial=np.inf)
        if largest <= _LARGEST and least >= _LEAST:
            continue
        inputs = [c.apart(value) if other is value else other for other in node.inputs]
        return [c.op("Mul", *inputs, dtype=node.outputs[0].dtype, shape=node.outputs[0].shape, trusted=True)]
    return None


def _next_to_product(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None]
    readers = [user for user, _ in node.outputs[0].uses()]
    return any(other is not None and other.op_type in ("MatMul", "Transpose") for other in (*producers, *readers))
