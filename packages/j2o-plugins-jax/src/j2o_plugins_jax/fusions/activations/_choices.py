"""Selections by comparing with a number, read in one way whatever the comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from j2o_core import Rewriter, traits


@dataclass(frozen=True)
class Choice:
    """`above` where x is larger than `bound`, `below` where it is smaller.

    Attributes:
        equal_above: whether `above` is taken where x is the bound.
        nan_above: whether `above` is taken where x is NaN.
    """

    x: ir.Value
    bound: float
    above: ir.Value
    below: ir.Value
    equal_above: bool
    nan_above: bool


def choice(rw: Rewriter, node: ir.Node | None) -> Choice | None:
    """The choice of a Where that compares a value of its own shape with a finite number, None for others."""
    if node is None or node.op_type != "Where":
        return None
    condition, chosen, other = node.inputs
    compare = rw.producer(condition, *traits.TURNED)
    if compare is None or chosen is None or other is None:
        return None
    op_types = (compare.op_type, traits.TURNED[compare.op_type])
    for op_type, (x, number) in zip(op_types, rw.both_ways(compare), strict=True):
        bound, greater = rw.scalar(number), op_type.startswith("Greater")
        if x is None or bound is None or not math.isfinite(bound) or not rw.same_shape(x, node.outputs[0]):
            continue
        above, below = (chosen, other) if greater else (other, chosen)
        return Choice(x, bound, above, below, op_type in ("GreaterOrEqual", "Less"), not greater)
    return None
