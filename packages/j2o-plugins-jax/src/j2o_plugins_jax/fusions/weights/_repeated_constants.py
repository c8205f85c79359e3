"""Constants that say the same along an axis, which ONNX broadcasts.

before: Mul(x, c)       with c of shape [1, 64, 56, 56] and 64 different numbers: a weight that was broadcast by JAX
after:  Mul(x, c')      with c' of shape [64, 1, 1]

The same numbers. Add, Sub, Mul and Div, floats. Late: other rules look for weights of the shape of what they weigh.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin

Array = np.ndarray[Any, Any]


@plugin.rewrite("Add", "Sub", "Mul", "Div", late=True)
def _repeated_constant(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for place in (0, 1):
        x, constant = node.inputs[place], node.inputs[1 - place]
        array = rw.constant(constant)
        if x is None or constant is None or array is None:
            continue
        if array.size == 1:  # cost: there is nothing to find
            continue
        if not rw.same_shape(x, node.outputs[0]):
            continue
        short = shortest(array)
        if short.size < array.size:
            small = rw.op.constants.get(np.ascontiguousarray(short), rw.op.constants.hint(constant))
            return rw.op(node.op_type, *((x, small) if place == 0 else (small, x)))
    return None


def shortest(array: Array) -> Array:
    """An array with size 1 along the axes that repeat one thing, without such axes in front."""
    for axis, size in enumerate(array.shape):
        first = array[(slice(None),) * axis + (slice(1),)]
        # Looking at one line first spares reading arrays that do not repeat.
        line = array[tuple(slice(None) if place == axis else 0 for place in range(array.ndim))] if array.size else first
        if size > 1 and array.size and equal(line, line[:1]) and equal(array, first):
            array = first
    rank = next((array.ndim - axis for axis, size in enumerate(array.shape) if size != 1), 0)
    return array.reshape(array.shape[array.ndim - rank :])


def equal(left: Array, right: Array) -> bool:
    """Whether two arrays have the same bits, the second one broadcast: zeros have signs."""
    return bool(((left == right) & (np.signbit(left) == np.signbit(right))).all())
