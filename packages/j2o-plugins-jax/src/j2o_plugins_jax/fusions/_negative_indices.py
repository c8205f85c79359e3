"""Indices that count from the end.

before: Gather(x, Clip(Where(i < 0, i + n, i), 0, n - 1)), as JAX traces `x[i]`
after:  Gather(x, Clip(i, -n, n - 1))

GatherElements alike: both count from the end themselves (https://onnx.ai/onnx/operators/onnx__Gather.html). What is
below -n gives the first element both ways. Where JAX fills in for what is outside, it compares the indices with the
clipped ones, which is as well done without the Where. There may be a Cast before Clip.
Declines where the axis has another size than n or an unknown one, for indices of fewer than 32 bits (i + n may wrap),
for those of 64 bits that JAX cuts to 32 after the Where, and where something else reads the clipped indices.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin
from ._index_forms import before_wrapping

_GATHERS = ("Gather", "GatherElements")


@plugin.rewrite(*_GATHERS)
def _gather_from_the_end(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, index = node.inputs
    shape, axis = rw.shape(x), rw.attr(node, "axis", 0)
    clipped = _clipped(rw, rw.producer(index, "Clip"))
    if clipped is None or shape is None or shape[axis] != clipped[1]:
        return None
    return rw.op(node.op_type, x, _clip(rw, *clipped), axis=axis)


@plugin.rewrite("Equal")
def _is_inside(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for index, other in rw.both_ways(node):
        clip = rw.producer(other, "Clip")
        clipped = _clipped(rw, clip)
        if clip is not None and clip.inputs[0] is index and clipped is not None:
            return rw.op.Equal(_index(rw, clipped[0]), _clip(rw, *clipped))
    return None


def _clipped(rw: Rewriter, clip: ir.Node | None) -> tuple[ir.Value, int] | None:
    """The i and n of Clip(Where(i < 0, i + n, i), 0, n - 1), if its only uses are rewritten here."""
    if clip is None or len(clip.inputs) != 3 or rw.scalar(clip.inputs[1]) != 0:
        return None
    last = rw.constant(clip.inputs[2])
    for reader, place in clip.outputs[0].uses():
        is_compared = reader.op_type == "Equal" and reader.inputs[1 - place] is clip.inputs[0]
        if not is_compared and not (reader.op_type in _GATHERS and place == 1):  # cost: indices are clipped twice
            return None
    cast = rw.producer(clip.inputs[0], "Cast")
    where = rw.producer(cast.inputs[0] if cast is not None else clip.inputs[0], "Where")
    if last is None or where is None:
        return None
    if clip.outputs[0].is_graph_output():  # cost: indices are clipped twice
        return None
    if cast is not None and clip.outputs[0].dtype is not ir.DataType.INT64:
        return None  # the Cast may have cut an index
    size = int(last) + 1
    index = before_wrapping(rw, where, size)
    return (index, size) if index is not None else None


def _index(rw: Rewriter, index: ir.Value) -> ir.Value:
    return rw.shared((index, "int64"), lambda: rw.op.Cast(index, to=ir.DataType.INT64))


def _clip(rw: Rewriter, index: ir.Value, size: int) -> ir.Value:
    ends = rw.const(-size, "int64"), rw.const(size - 1, "int64")
    return rw.shared((index, "from the end", size), lambda: rw.op.Clip(_index(rw, index), *ends))
