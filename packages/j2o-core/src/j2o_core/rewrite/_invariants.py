"""Move what every turn of a loop computes alike in front of the loop.

    Loop(body: Add(carry, Exp(x)))    ->    y = Exp(x); Loop(body: Add(carry, y))

The bodies of Loop and Scan read outer values in place, so a node that reads no value of its body can leave it. A loop
may take no turn at all: only operators leave that fail for no operand. A result that is larger than the operands stays
inside. So do float16 and bfloat16: a chain of them is rounded at its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from ..graph import traits
from ..graph._values import is_integer, shape_of
from ..graph._walk import bodies

_LOOPS = ("Loop", "Scan")
_MOVED = {
    *traits.POINTWISE,
    *traits.LAYOUT,
    *traits.REDUCTIONS,
    *("MatMul", "Concat", "Slice", "Split", "Softmax", "LogSoftmax", "CumSum", "Conv"),
}
_DIVISIONS = ("Div", "Mod")  # of integers by zero they end the process
_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# Elements of a result that may be more than those of its operands.
_SMALL = 2**16


def move_invariants(graph: ir.Graph) -> None:
    """Move invariant nodes out of all loops of a graph, the innermost first, in place."""
    for node in list(graph):
        for body in bodies(node):
            move_invariants(body)
            if node.op_type in _LOOPS:
                moved = _invariants(body)
                body.remove(moved)
                graph.insert_before(node, moved)


def _invariants(body: ir.Graph) -> list[ir.Node]:
    """The nodes of a body that read outer values and each other only."""
    inside = set(body.inputs)
    kept = set(body.outputs)  # a body has to make its results itself
    moved = []
    for node in body:
        operands = [value for value in node.inputs if value is not None]
        if inside.isdisjoint(operands) and kept.isdisjoint(node.outputs) and _may_move(node, operands):
            moved.append(node)
        else:
            inside.update(node.outputs)
    return moved


def _may_move(node: ir.Node, operands: list[ir.Value]) -> bool:
    if node.op_type not in _MOVED or has_half(node):
        return False
    if node.op_type in _DIVISIONS and is_integer(operands[0]):
        return False
    shapes = [shape_of(value) for value in operands]
    return all(_is_small(shape_of(value), shapes) for value in node.outputs)


def has_half(node: ir.Node) -> bool:
    """Whether a node reads or makes float16 or bfloat16: a chain of them, which is rounded at its end, stays whole."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return any(value.dtype is None or value.dtype in _HALF for value in values)


def _is_small(shape: tuple[Any, ...] | None, operands: Sequence[tuple[Any, ...] | None]) -> bool:
    """Whether an array takes little memory, or no more than one of the operands."""
    if shape is None or shape in operands:
        return shape is not None
    size = _size(shape)
    return size is not None and size <= max([_SMALL, *(_size(one) or 0 for one in operands if one is not None)])


def _size(shape: tuple[Any, ...]) -> int | None:
    return math.prod(shape) if all(isinstance(dimension, int) for dimension in shape) else None
