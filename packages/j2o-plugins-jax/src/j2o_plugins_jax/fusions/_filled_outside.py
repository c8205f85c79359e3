"""Numbers at places inside an array, and one number for all places outside: a frame of that number.

before: Where(0 <= i and i < n and 0 <= j and j < m, Gather(Reshape(x, [n * m]), k * m + l), fill)
        with k = Clip(i', 0, n - 1) and l = Clip(j', 0, m - 1), i' and j' being Where(i < 0, i + n, i) or i itself
after:  Gather(Reshape(Pad(x, 2, fill), [(n + 4) * (m + 4)]), Clip(i, -2, n) * (m + 4) + Clip(j, -2, m) + 2 * m + 10)

For any number of axes: what `map_coordinates` and other sampling of images trace for each neighbour. Those at i and at
i + 1 share the Clip, and their places are a constant apart: the frame has room for both. The same numbers: an index
inside does not count from the end, and what lies outside is read from the frame. Comparisons and choices of a number
take 3 ns in ONNX Runtime, the frame 0.5 ns for each number of x.
Declines for few numbers of a large array, for other conditions beside, and where x has other shapes than the ends say.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits

from .._plugin import plugin
from ._index_forms import before_widening, before_wrapping

_MANY = 512
_LARGER = 4
# Places outside of each axis, before and behind: a pair that is outside whole is read from them.
_FRAME = 2
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


class _Index(NamedTuple):
    """An index along an axis of `size`, whose places are `stride` numbers apart."""

    value: ir.Value
    size: int
    stride: int

    def base(self, rw: Rewriter) -> tuple[ir.Value, int]:
        """The i of this index, which is i or i + 1, and which of both it is."""
        for _, one, number in rw.with_number(self.value, "Add"):
            if number == 1 and rw.same_shape(one, self.value):
                return one, 1
        return self.value, 0


@plugin.rewrite("Where", needs=("Gather",))
def _filled_outside(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    condition, chosen, fill = node.inputs
    if (outside := rw.producer(condition, "Not")) is not None:
        condition, chosen, fill = outside.inputs[0], fill, chosen
    gather, number, shape = rw.producer(chosen, "Gather"), rw.scalar(fill), rw.shape(node.outputs[0])
    if gather is None or chosen is None or number is None or not rw.only_use(chosen) or shape is None:
        return None
    x, place = gather.inputs
    whole = rw.shape(x)
    if x is None or place is None or whole is None or len(whole) != 1 or not rw.same_shape(place, node.outputs[0]):
        return None
    indices, ends = _indices(rw, place), _ends(rw, condition)
    if not indices or ends != {index.value: (0, index.size - 1) for index in indices}:
        return None
    sizes = [index.size for index in indices]
    if [index.stride for index in indices] != _strides(sizes) or whole[0] != math.prod(sizes):
        return None
    if not all(isinstance(size, int) for size in shape) or math.prod(shape) < max(_MANY, whole[0] // _LARGER):
        return None  # cost: the frame is larger than what is read
    shapes = [rw.shape(index.value) or () for index in indices]
    if not all(isinstance(size, int) for one in shapes for size in one) or np.broadcast_shapes(*shapes) != shape:
        return None
    framed = [size + 2 * _FRAME for size in sizes]
    if not rw.target.runs("Pad", x.dtype) or math.prod(framed) > np.iinfo(np.int32).max:
        return None
    dtype = next((i.value.dtype for i in indices if i.value.dtype is ir.DataType.INT64), ir.DataType.INT32)
    bases, strides = [index.base(rw) for index in indices], _strides(framed)
    offset = sum((_FRAME + more) * stride for (_, more), stride in zip(bases, strides, strict=True))
    is_broadcast = any(one != shape for one in shapes)

    def frame() -> ir.Value:
        pads = rw.const([_FRAME] * (2 * len(sizes)), np.int64)
        padded = rw.op.Pad(rw.reshape(x, sizes), pads, rw.const(np.asarray(rw.constant(fill)).flat[0]))
        return rw.reshape(padded, [math.prod(framed)])

    def start() -> ir.Value:
        steps = []
        for (base, _), index, stride in zip(bases, indices, strides, strict=True):
            inside = rw.op.Clip(base, rw.const(-_FRAME, base), rw.const(index.size, base))
            inside = rw.op.cast(inside, dtype)
            steps.append(rw.op.Mul(inside, rw.const(stride, inside)))
        if is_broadcast:  # cost: before there are more numbers
            steps[-1] = rw.op.Add(steps[-1], rw.const(offset, steps[-1]))
        return functools.reduce(rw.op.Add, steps)

    table = rw.shared(("filled outside", x, tuple(sizes), str(number)), frame)
    if is_broadcast:
        return rw.op.Gather(table, start(), axis=0)
    places = rw.shared(("filled outside", *(base for base, _ in bases), *sizes, dtype), start)
    return rw.op.Gather(table, rw.op.Add(places, rw.const(offset, places)), axis=0)


def _strides(sizes: list[int]) -> list[int]:
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def _indices(rw: Rewriter, place: ir.Value) -> list[_Index]:
    """The indices of which a place is made, the last axis last; none if it is made of something else."""
    found, stack = [], [place]
    while stack:
        value = stack.pop()
        add, stride = rw.producer(value, "Add"), 1
        if add is not None:
            stack += [operand for operand in add.inputs if operand is not None]
            continue
        for _, one, factor in rw.with_number(value, "Mul"):
            value, stride = one, int(factor)
        index = _clamped(rw, value)
        if index is None:
            return []
        found.append(_Index(*index, stride))
    return sorted(found, key=lambda index: -index.stride)


def _clamped(rw: Rewriter, value: ir.Value) -> tuple[ir.Value, int] | None:
    """The index that is clamped to the ends of an axis, and the size of this axis."""
    x, low, high = _clip(rw, before_widening(rw, value) or value)
    if low is None or high is None:
        return None
    index, size = before_widening(rw, x) or x, int(high) + 1
    where = rw.producer(index, "Where")
    if where is not None and low == 0:
        index = before_wrapping(rw, where, size)
    elif low not in (0, -size):
        return None
    return (index, size) if index is not None and index.dtype in _INTEGERS else None


def _clip(rw: Rewriter, value: ir.Value | None) -> tuple[ir.Value | None, float | None, float | None]:
    """The operand and the ends of Clip, or of Min of Max."""
    clip = rw.producer(value, "Clip", "Min")
    if clip is not None and clip.op_type == "Clip" and len(clip.inputs) == 3:
        return clip.inputs[0], rw.scalar(clip.inputs[1]), rw.scalar(clip.inputs[2])
    for one, high in rw.both_ways(clip):
        for _, x, low in rw.with_number(one, "Max"):
            return x, low, rw.scalar(high)
    return None, None, None


def _ends(rw: Rewriter, condition: ir.Value | None) -> dict[ir.Value, tuple[float, float]]:
    """The integers that a condition bounds, with the least and the largest number of each; none of other conditions."""
    lows: dict[ir.Value, float] = {}
    highs: dict[ir.Value, float] = {}
    stack = [condition]
    while stack:
        node = rw.producer(stack.pop(), "And", *traits.TURNED)
        if node is None:
            return {}
        if node.op_type == "And":
            stack += node.inputs
            continue
        (one, other), op_type = node.inputs, node.op_type
        if rw.scalar(other) is None:
            one, other, op_type = other, one, traits.TURNED[op_type]
        bound = rw.scalar(other)
        if bound is None or one is None or one.dtype not in _INTEGERS:
            return {}
        if op_type.startswith("Less"):
            highs[one] = min(highs.get(one, math.inf), bound - (op_type == "Less"))
        else:
            lows[one] = max(lows.get(one, -math.inf), bound + (op_type == "Greater"))
    return {one: (lows[one], highs[one]) for one in lows} if lows.keys() == highs.keys() else {}
