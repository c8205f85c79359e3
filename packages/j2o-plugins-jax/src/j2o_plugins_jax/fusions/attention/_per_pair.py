"""One number for each pair, of a value that has the same number for both: the graph shows that they are equal.

before: Cos(Concat(a, a))                           pairs of halves
after:  Cos(a)

before: Reshape(Expand(Unsqueeze(a, -1), 2) * 3)    pairs of neighbours
after:  a * 3
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits

Made = dict[tuple[ir.Value, int, int], ir.Value | None]


def per_pair(rw: Rewriter, value: ir.Value | None, axis: int, distance: int, made: Made) -> ir.Value | None:
    """A value with half of an axis: of two numbers at that distance along it that are equal, one.

    Numbers 0 to `distance - 1` pair with the next `distance` ones, those behind them likewise.

    `made` holds what was made of other values. None where the graph does not show that the numbers are equal.
    """
    shape = rw.shape(value)
    if value is None or shape is None:
        return None
    key = (value, axis, distance)
    if key not in made:
        half = _of_constant(rw, *key) if rw.constant(value) is not None else _of_node(rw, *key, made)
        if half is not None and rw.shape(half) is None:  # a Slice from a place that is computed
            half = rw.reshape(half, (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :]))
        made[key] = half
    return made[key]


def _of_constant(rw: Rewriter, value: ir.Value, axis: int, distance: int) -> ir.Value | None:
    array = rw.constant(value)
    assert array is not None
    if not np.array_equal(_of_each_pair(array, axis, distance, 0), _of_each_pair(array, axis, distance, 1)):
        return None
    return rw.derived(value, f"per pair {axis} {distance}", lambda array: _of_each_pair(array, axis, distance, 0))


def _of_each_pair(array: np.ndarray[Any, Any], axis: int, distance: int, place: int) -> np.ndarray[Any, Any]:
    before, behind = array.shape[:axis], array.shape[axis + 1 :]
    pairs = array.reshape(*before, array.shape[axis] // (2 * distance), 2, distance, *behind)
    one: np.ndarray[Any, Any] = pairs.take(place, axis + 1).reshape(*before, array.shape[axis] // 2, *behind)
    return one


def _of_node(rw: Rewriter, value: ir.Value, axis: int, distance: int, made: Made) -> ir.Value | None:
    node = rw.producer(value)
    rule = _RULES.get(node.op_type) if node is not None else None
    return rule(rw, node, axis, distance, made) if rule is not None else None


def _of_repetition(rw: Rewriter, node: ir.Node, axis: int, distance: int, made: Made) -> ir.Value | None:
    """The first operand of Concat and Tile, if they write it twice along the axis, one behind the other."""
    first, shape = node.inputs[0], rw.shape(node.outputs[0]) or ()
    if node.op_type == "Concat":
        is_twice = list(node.inputs[1:]) == [first] and rw.attr(node, "axis") % len(shape) == axis
    else:
        repeats = rw.constant(node.inputs[1])
        wanted = [2 if other == axis else 1 for other in range(len(shape))]
        is_twice = repeats is not None and repeats.tolist() == wanted
    return first if is_twice and shape[axis] == 2 * distance else None


def _of_pointwise(rw: Rewriter, node: ir.Node, axis: int, distance: int, made: Made) -> ir.Value | None:
    rank, operands = len(rw.shape(node.outputs[0]) or ()), []
    for operand in node.inputs:
        shape = rw.shape(operand)
        if operand is None or shape is None:
            return None
        own = axis - (rank - len(shape))
        spread = own < 0 or shape[own] == 1
        operands.append(operand if spread else per_pair(rw, operand, own, distance, made))
    if None in operands:
        return None
    return rw.op(node.op_type, *operands, **rw.attrs(node))  # type: ignore[no-any-return]


def _of_gather(rw: Rewriter, node: ir.Node, axis: int, distance: int, made: Made) -> ir.Value | None:
    data, indices = node.inputs
    rank = len(rw.shape(indices) or ())
    along = rw.attr(node, "axis", 0) % len(rw.shape(data) or (1,))
    if along <= axis < along + rank or rw.shape(indices) is None:
        return None
    table = per_pair(rw, data, axis if axis < along else axis - rank + 1, distance, made)
    return None if table is None else rw.op.Gather(table, indices, axis=along)


def _of_slice(rw: Rewriter, node: ir.Node, axis: int, distance: int, made: Made) -> ir.Value | None:
    """A Slice along other axes."""
    data, *parts = node.inputs
    axes = rw.constant(parts[2]) if len(parts) > 2 else None
    shape = rw.shape(data)
    if axes is None or shape is None or axis in [int(other) % len(shape) for other in axes]:
        return None
    table = per_pair(rw, data, axis, distance, made)
    return None if table is None else rw.op.Slice(table, *parts)


def _of_expand(rw: Rewriter, node: ir.Node, axis: int, distance: int, made: Made) -> ir.Value | None:
    """Along other axes, or along one of size 1, or none, to one of size 2."""
    x, shape = node.inputs[0], rw.shape(node.outputs[0]) or ()
    source = rw.shape(x)
    if source is None:
        return None
    own = axis - (len(shape) - len(source))
    spread = own < 0 or source[own] == 1
    half = (x if shape[axis] == 2 else None) if spread else per_pair(rw, x, own, distance, made)
    return None if half is None else rw.expand(half, [*shape[:axis], shape[axis] // 2, *shape[axis + 1 :]])


def _of_layout(rw: Rewriter, node: ir.Node, axis: int, distance: int, made: Made) -> ir.Value | None:
    """The pairs are along an axis of the operand: other axes stay as they are, in that one half of the numbers goes."""
    x = node.inputs[0]
    if x is None or rw.shape(x) is None:
        return None
    axes = rw.moved(node, rw.axes(x))
    if axes is None:
        return None
    inner = 1
    for part in reversed(axes[axis]):
        wide, left = divmod(distance, inner)
        if not left and part.size % (2 * wide) == 0 and wide:
            own, own_distance = part.axis, part.stride * wide
            break
        inner *= part.size
    else:
        return None
    half = per_pair(rw, x, own, own_distance, made)
    target = tuple(tuple(kept for part in one if (kept := _kept(part, own, own_distance))) for one in axes)
    return None if half is None else rw.arranged(half, rw.axes(half), target)


_RULES: dict[str, Callable[..., ir.Value | None]] = {
    **dict.fromkeys(traits.POINTWISE, _of_pointwise),
    **dict.fromkeys(traits.LAYOUT, _of_layout),
    **dict.fromkeys(("Concat", "Tile"), _of_repetition),
    "Gather": _of_gather,
    "Slice": _of_slice,
    "Expand": _of_expand,
}


def _kept(part: Any, axis: int, distance: int) -> Any:
    """The part of an axis without the second numbers of its pairs; None if nothing is left."""
    if part.axis != axis or part.stride * part.size <= distance:
        return part
    if part.stride > distance:
        return part._replace(stride=part.stride // 2)
    return part._replace(size=part.size // 2) if part.size > 2 else None
