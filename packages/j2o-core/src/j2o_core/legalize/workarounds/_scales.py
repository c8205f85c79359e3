"""Scaled products, whose factor the runtime merges into them: into float32, or into weights that overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph._values import shape_of
from ...rewrite import Rewriter


def scale(rw: Rewriter, node: ir.Node) -> Any:
    """Mul or Div by a number, next to a MatMul: the number broadcast along an axis, which is not merged.

    An operand without an axis that is known to be longer than 1 keeps the number, and its error of 3e-8.
    """
    if not _next_to_product(node):
        return None
    for position, value in enumerate(node.inputs):
        number = rw.constant(value)
        if number is None or number.size != 1 or (node.op_type == "Div" and position == 0):
            continue
        factor = np.float64(1) / number.reshape(()) if node.op_type == "Div" else number.reshape(())
        if np.float64(np.float32(factor)) == factor:
            return None
        sizes = [size if isinstance(size, int) else 0 for size in shape_of(node.outputs[0]) or ()]
        axis = next((axis for axis in reversed(range(len(sizes))) if sizes[axis] > 1), None)
        if axis is None:
            return None
        line = rw.const(np.full((sizes[axis], *(1,) * (len(sizes) - axis - 1)), number.reshape(()), np.float64))
        return rw.op.plain(node.op_type, *(line if value is other else other for other in node.inputs))
    return None


# Weights times the factor are told from the weights by their rounding alone inside these bounds.
_LEAST, _LARGEST = 1e-30, 1e30


def scaled_convolution(rw: Rewriter, node: ir.Node) -> Any:
    """Mul(Conv(x, w), s) with an optimization barrier behind Conv, where w * s is not finite, or nothing."""
    for value, factor in rw.both_ways(node):
        conv, numbers = rw.producer(value, "Conv"), rw.constant(factor)
        if conv is None or value is None or numbers is None or numbers.size == 0:
            continue
        constants = [array for array in map(rw.constant, conv.inputs[1:]) if array is not None and array.size]
        if not constants:
            continue
        with np.errstate(all="ignore"):
            sizes = np.abs(numbers.astype(np.float64))
            largest = max(float(np.abs(array).max()) for array in constants) * sizes.max()
            least = float(np.abs(constants[0]).max()) * sizes[sizes != 0].min(initial=np.inf)
        if largest <= _LARGEST and least >= _LEAST:
            continue
        return rw.op.plain("Mul", *(rw.op.barrier(value) if other is value else other for other in node.inputs))
    return None


def _next_to_product(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None]
    readers = [user for user, _ in node.outputs[0].uses()]
    return any(other is not None and other.op_type in ("MatMul", "Transpose") for other in (*producers, *readers))
