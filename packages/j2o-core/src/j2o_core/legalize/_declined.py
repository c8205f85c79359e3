"""Reasons why a node has no form of other operators, and questions that such a form has to have answered."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ..graph._values import shape_of
from ..rewrite import Rewriter


class Declined(Exception):
    """Raised by a replacement, with the reason why it cannot write a node; the error lists the node with it."""


def sizes_of(value: ir.Value | None) -> tuple[Any, ...]:
    """The shape of an operand.

    Raises:
        Declined: if it is not known.
    """
    shape = shape_of(value) if value is not None else None
    if shape is None:
        raise Declined("the shape of an operand is not known")
    return shape


def reduced_axes(rw: Rewriter, node: ir.Node) -> tuple[int, ...]:
    """The axes of a reduction, which are its second input: all of them if left out (or empty without `noop`).

    Raises:
        Declined: if they are not constant.
    """
    rank, axes = len(sizes_of(node.inputs[0])), rw.reduced_axes(node)
    if axes is None and (*node.inputs, None)[1] is not None:
        raise Declined("the axes have to be constant")
    if not axes:
        return () if rw.attr(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(axes)
