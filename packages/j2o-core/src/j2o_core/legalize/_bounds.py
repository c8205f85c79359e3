"""What is known of the integers in a value: that sizes, indices and what is computed from them are small."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import onnx_ir as ir

from ..target import INTEGERS, UNSIGNED, bits
from ._emitter import read_constant

T = ir.DataType
Bounds = tuple[int, int]

_INT32: Bounds = (-(2**31), 2**31 - 1)
# No tensor has more elements along an axis, or positions to point at.
_SIZE: Bounds = (0, 2**31 - 1)
_DEPTH = 12

_SIZES = frozenset({"Shape", "ArgMax", "ArgMin", "NonZero"})
_SAME_AS_FIRST = frozenset(
    {
        "Gather",
        "GatherElements",
        "GatherND",
        "Slice",
        "Squeeze",
        "Unsqueeze",
        "Reshape",
        "Transpose",
        "Flatten",
        "Expand",
    }
    | {"Tile", "Identity", "Split", "ReduceMax", "ReduceMin"}
)


def fits_int32(value: ir.Value) -> bool:
    """Whether all elements of a value of integers are known to lie in the range of int32."""
    known = bounds(value)
    return known is not None and _INT32[0] <= known[0] and known[1] <= _INT32[1]


def bounds(value: ir.Value | None, depth: int = _DEPTH) -> Bounds | None:
    """The least and the greatest that an element can be, or None if nothing is known."""
    if value is None:
        return None
    array = read_constant(value)
    if array is not None:
        return (int(array.min()), int(array.max())) if array.size else (0, 0)
    node = value.producer()
    if node is None or depth == 0:
        return None
    if node.op_type in _SIZES:
        return _SIZE
    if node.op_type == "Cast":
        return _of_type(node.inputs[0])
    if node.op_type in _SAME_AS_FIRST:
        return bounds(node.inputs[0], depth - 1)
    rule = _RULES.get(node.op_type)
    if rule is None:
        return None
    operands = node.inputs[1:] if node.op_type == "Where" else node.inputs
    known = [bounds(operand, depth - 1) for operand in operands]
    present = [k for k in known if k is not None]
    if len(present) < len(known):
        return None
    result = rule(present)
    return result if result[0] >= -(2**63) and result[1] < 2**63 else None


def _of_type(value: ir.Value | None) -> Bounds | None:
    dtype = None if value is None else value.dtype
    if dtype is T.BOOL:
        return 0, 1
    if dtype is None or dtype not in INTEGERS or bits(dtype) == 64:
        return None
    return (0, 2 ** bits(dtype) - 1) if dtype in UNSIGNED else (-(2 ** (bits(dtype) - 1)), 2 ** (bits(dtype) - 1) - 1)


def _corners(function: Callable[[int, int], int]) -> Callable[[list[Bounds]], Bounds]:
    """Of an operation that is monotone in each operand: the extremes are among the corners."""

    def rule(operands: list[Bounds]) -> Bounds:
        left, right = operands
        values = [function(a, b) for a, b in itertools.product(left, right)]
        return min(values), max(values)

    return rule


def _union(operands: list[Bounds]) -> Bounds:
    return min(low for low, _ in operands), max(high for _, high in operands)


_RULES: dict[str, Callable[[list[Bounds]], Bounds]] = {
    "Add": _corners(lambda a, b: a + b),
    "Sub": _corners(lambda a, b: a - b),
    "Mul": _corners(lambda a, b: a * b),
    "Max": lambda operands: (max(low for low, _ in operands), max(high for _, high in operands)),
    "Min": lambda operands: (min(low for low, _ in operands), min(high for _, high in operands)),
    "Concat": _union,
    "Where": _union,
    "Clip": _union,
}
