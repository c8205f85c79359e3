"""Elements that a constant mask chooses, as of a triangle: from the operand that has them.

before: Slice(Reshape(Where(mask, x, 0))), the mask true at all of these    after: Slice(Reshape(x))
before: Where(mask, Where(other, x, 0), 0)                                  after: Where(mask & other, x, 0)

Alike for Gather and GatherND, and where the mask is false. Declines for symbolic sizes, and for elements of both
operands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..simplify._identities import one_number
from ._plugin import plugin
from ._rewriter import Rewriter

# Elements of a mask that are looked at.
_LARGEST = 2**14

_Array = np.ndarray[Any, Any]


@plugin.rewrite("Slice", "Gather", "GatherND", needs=("Where",))
def _elements_of_choice(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    layouts, value = list[ir.Node](), node.inputs[0]
    while (layout := rw.producer(value, *traits.LAYOUT)) is not None and layout.graph is node.graph:
        layouts.append(layout)
        value = layout.inputs[0]
    choice = rw.producer(value, "Where")
    mask = rw.constant(choice.inputs[0]) if choice is not None else None
    size, shape = rw.size(value), rw.shape(value)
    if choice is None or mask is None or size is None or shape is None:
        return None
    if size > _LARGEST or choice.graph is not node.graph:  # cost: of the look, and of each turn of a loop
        return None
    taken: _Array | None = np.broadcast_to(mask, shape)
    for step in (*layouts[::-1], node):
        taken = rw.folded(step, taken) if taken is not None else None
    if taken is None or taken.any() != taken.all():
        return None
    x = choice.inputs[1 if taken.all() else 2]
    if x is None:
        return None
    number = one_number(rw.constant(x))
    if number is not None:
        return rw.expand(rw.const(number), taken.shape)
    if rw.shape(x) != shape:
        return None

    def arranged() -> ir.Value:
        result = x
        for layout in layouts[::-1]:
            result = rw.op(layout.op_type, result, *layout.inputs[1:], **rw.attrs(layout))
        return result

    source = rw.shared((node.inputs[0], x), arranged) if layouts else x
    return rw.op(node.op_type, source, *node.inputs[1:], **rw.attrs(node))  # type: ignore[no-any-return]


class _Filled(NamedTuple):
    """`x`, but a number where a constant mask is true."""

    places: _Array
    number: _Array
    x: ir.Value


def _filled(rw: Rewriter, value: ir.Value | None) -> _Filled | None:
    node = rw.producer(value, "Where")
    mask = rw.constant(node.inputs[0]) if node is not None else None
    if node is None or mask is None:
        return None
    if mask.size > _LARGEST:  # cost: of the look
        return None
    _, one, other = node.inputs
    for places, filling, x in (mask, one, other), (~mask, other, one):
        number = one_number(rw.constant(filling))
        if number is not None and x is not None:
            return _Filled(places, number, x)
    return None


@plugin.rewrite("Where")
def _filled_twice(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    outer = _filled(rw, node.outputs[0])
    inner = _filled(rw, outer.x) if outer is not None else None
    if outer is None or inner is None or outer.number.tobytes() != inner.number.tobytes():
        return None
    places = outer.places | inner.places
    if (
        places.shape == inner.places.shape
        and (inner.places == places).all()
        and rw.same_shape(outer.x, node.outputs[0])
    ):
        return outer.x
    # A runtime may lose the sign of a -0 that is no last operand.
    return rw.op.Where(rw.const(~places), inner.x, rw.const(outer.number))
