"""One place by an index vector: GatherND.

before: Gather(Gather(x, v[1], axis=1), v[0], axis=0) with x [n, m, ...] and v [2], as an update at a place reads it
after:  GatherND(x, v)

The same numbers, from indices that count from the end, too. Declines for a vector that has other numbers than these, or
whose numbers are not those of the leading axes in their order, and for what is read between.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Gather", late=True)
def _place_by_vector(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    vector = _vector(rw, node, 0)
    shape = rw.shape(vector)
    if vector is None or shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] < 2:
        return None
    x = node.inputs[0]
    for axis in range(1, shape[0]):
        inner = rw.producer(x, "Gather")
        if x is None or inner is None or not rw.only_use(x) or _vector(rw, inner, axis) is not vector:
            return None
        x = inner.inputs[0]
    if x is None or vector.dtype is not ir.DataType.INT64 or not rw.target.runs("GatherND", x.dtype):
        return None
    return rw.op.GatherND(x, vector)


def _vector(rw: Rewriter, node: ir.Node, axis: int) -> ir.Value | None:
    """The vector whose number of this place is where a Gather reads along the axis of this place."""
    number, shape = rw.producer(node.inputs[1], "Gather"), rw.shape(node.inputs[0])
    if number is None or not shape or rw.attr(node, "axis", 0) % len(shape) != axis:
        return None
    place = rw.constant(number.inputs[1])
    return number.inputs[0] if place is not None and place.ndim == 0 and place == axis else None
