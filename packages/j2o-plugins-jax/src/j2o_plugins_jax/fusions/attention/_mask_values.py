"""Masks that compare the indices of queries and keys."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import Rewriter, traits
from j2o_core.graph._infer import same_shape

_DEPTH = 10
# Narrower ones wrap around within an axis, unsigned ones below zero.
_INDICES = (ir.DataType.INT32, ir.DataType.INT64)


# left OP right, as "keys <= queries + offset": whether left has to be the queries, by how much the offset changes, and
# whether the comparison says which places are masked.
_COMPARISONS = {
    ("GreaterOrEqual", "queries"): (0, False),
    ("LessOrEqual", "keys"): (0, False),
    ("Greater", "queries"): (-1, False),
    ("Less", "keys"): (-1, False),
    ("Greater", "keys"): (0, True),
    ("Less", "queries"): (0, True),
    ("GreaterOrEqual", "keys"): (-1, True),
    ("LessOrEqual", "queries"): (-1, True),
}


def compares_indices(
    rw: Rewriter, kept: ir.Value, axes: tuple[Any, ...], *, inverted: bool, queries: Any, keys: Any
) -> bool:
    """Whether a mask with these axes keeps the keys whose index is not above that of the query."""
    node = rw.producer(kept)
    while node is not None and node.op_type in ("Where", "Not", *traits.RESHAPES):
        if node.op_type in traits.RESHAPES:
            if not _adds_leading_axes(rw, node):
                return False
        elif node.op_type == "Where":
            values = [rw.constant(branch) for branch in node.inputs[1:]]
            if any(array is None or array.size != 1 for array in values):
                return False
            yes, no = (bool(array.reshape(-1)[0]) for array in values if array is not None)
            if yes == no:
                return False
            inverted ^= no
        else:
            inverted = not inverted
        node = rw.producer(node.inputs[0])
    if node is None or len(node.inputs) != 2:
        return False
    first_ramp, second_ramp = (_ramp(rw, value) for value in node.inputs)
    if first_ramp is None or second_ramp is None:
        return False
    (left, left_offset), (right, right_offset) = first_ramp, second_ramp
    if (axes[left], axes[right]) == (queries, keys):
        first, offset = "queries", left_offset - right_offset
    elif (axes[left], axes[right]) == (keys, queries):
        first, offset = "keys", right_offset - left_offset
    else:
        return False
    change, masked = _COMPARISONS.get((node.op_type, first), (None, False))
    return change is not None and masked == inverted and offset + change == 0 and bool(queries) and bool(keys)


def _adds_leading_axes(rw: Rewriter, node: ir.Node) -> bool:
    """Whether a change of layout leaves axes where they are, counted from behind."""
    before, after = rw.shape(node.inputs[0]), rw.shape(node.outputs[0])
    if before is None or after is None:
        return False
    return same_shape(after, (*[1] * (len(after) - len(before)), *before))


def _ramp(rw: Rewriter, value: ir.Value | None, depth: int = _DEPTH) -> tuple[int, int] | None:
    """(axis from behind, offset) if a value is the index along an axis plus an offset, whatever the other axes."""
    node = rw.producer(value)
    if depth == 0:  # cost: of the search
        return None
    if node is None or value is None or value.dtype not in _INDICES:
        return None
    if node.op_type == "Range":
        start, step = rw.scalar(node.inputs[0]), rw.scalar(node.inputs[2])
        return (-1, int(start)) if start is not None and step == 1 and float(start).is_integer() else None
    if node.op_type in ("Add", "Sub"):
        for _, x, number in rw.with_number(value):
            inner = _ramp(rw, x, depth - 1)
            if inner is not None:
                return inner[0], inner[1] + int(number if node.op_type == "Add" else -number)
        return None
    inner = _ramp(rw, node.inputs[0], depth - 1)
    if inner is None or node.op_type in ("Cast", "Expand", "Identity"):
        return inner
    axis, offset = inner
    if node.op_type == "Unsqueeze":
        added = rw.constant(node.inputs[1])
        shape = rw.shape(value)
        if added is None or shape is None:
            # Of a Range itself, whose size is not noted: one axis.
            if added is None or rw.producer(node.inputs[0], "Range", "Cast") is None:
                return None
            rank = 1 + len(added)
        else:
            rank = len(shape)
        places = {int(place) % rank for place in added}
        kept = [place for place in range(rank) if place not in places]
        return kept[axis] - rank, offset
    if node.op_type in ("Reshape", "Transpose"):
        before, after = rw.shape(node.inputs[0]), rw.shape(value)
        if before is None or after is None:
            return None
        moved = rw.moved(node, rw.axes(node.inputs[0]))  # type: ignore[arg-type]
        source = rw.axes(node.inputs[0])[axis]  # type: ignore[arg-type]
        if moved is None or source not in moved:
            return None
        return moved.index(source) - len(after), offset
    return None
