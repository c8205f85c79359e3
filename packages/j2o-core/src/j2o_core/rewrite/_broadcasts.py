"""Fewer broadcasts in memory: ONNX broadcasts by itself, and axes of size 1 move without a copy.

before: y = Add(Expand(z), x)                                      after: y = Add(z, x)
before: y = Where(m, x, Unsqueeze(Expand(c)))                      after: y = Where(m, x, c)
before: y = Where(And(Expand(true), m), x, c), Or(Expand(false))   after: y = Where(m, x, c)
before: y = Add(Reshape(Exp(c), [1, C]), x)                        after: y = Add(Exp(c), x)
before: y = Sqrt(Add(Expand(z), 1e-5))                             after: y = Expand(Sqrt(Add(z, 1e-5)))
before: y = Transpose(Reshape(x, [B, T, 1, C]), perm 2 0 1 3)      after: y = Unsqueeze(x, [0])

with a number c, whatever Reshape, Transpose and Expand made of it; x has the shape of y and sizes may be symbolic.

Declines where an operand's sizes are needed for the result's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._infer import Shape, broadcast_shapes, same_shape
from ..graph._values import shape_of
from ._plugin import plugin
from ._rewriter import Rewriter

# Operands that pass the other one on.
_NEUTRAL = {"And": True, "Or": False, "Mul": 1, "Add": 0}
_MOST_NUMBERS = 4096  # of a constant that is looked through
_LONGEST_CHAIN = 8


@plugin.rewrite(*traits.BROADCASTS)
def _thin_operands(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    wanted = shape_of(node.outputs[0])
    if wanted is None:
        return None
    inputs = list(node.inputs)
    for index, value in enumerate(inputs):
        while rw.shape(value) != () and (value := _thinner(rw, value)) is not None:
            trial = [*inputs[:index], value, *inputs[index + 1 :]]
            if _broadcast_to(rw, trial, wanted):
                inputs = trial
    if inputs == list(node.inputs):
        return None
    attrs = rw.attrs(node)
    return rw.op(node.op_type, *inputs, **attrs)  # type: ignore[no-any-return]


@plugin.rewrite(*traits.BROADCASTS, late=True)  # before, norms and masks are found by their axes
def _without_leading_ones(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """An operand that was given axes of size 1 in front, which ONNX adds by itself."""
    for place, value in enumerate(node.inputs):
        thin = rw.operand_of(value, *traits.RESHAPES)
        if thin is None or thin.producer() is None:
            continue  # a weight of a function is stored in the shape that is read
        own, shape = rw.shape(value), rw.shape(thin)
        if own is None or shape is None or not same_shape(own, (*[1] * (len(own) - len(shape)), *shape)):
            continue
        inputs = [*node.inputs[:place], thin, *node.inputs[place + 1 :]]
        if len(shape) < len(own) and _broadcast_to(rw, inputs, shape_of(node.outputs[0])):
            return rw.op(node.op_type, *inputs, **rw.attrs(node))  # type: ignore[no-any-return]
    return None


@plugin.rewrite(*traits.MAPS, *traits.BROADCASTS, needs=("Expand",))
def _computed_before(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """An elementwise operator of a broadcast value and constants is applied before the Expand."""
    expands = [(place, rw.producer(value, "Expand")) for place, value in enumerate(node.inputs)]
    found = [(place, expand) for place, expand in expands if expand is not None]
    if len(found) != 1:
        return None
    ((place, expand),) = found
    thin = rw.shape(expand.inputs[0])
    if thin is None:
        return None
    inputs = [expand.inputs[0] if index == place else other for index, other in enumerate(node.inputs)]
    if any(rw.constant(other) is None for index, other in enumerate(inputs) if index != place):
        return None
    if not _broadcast_to(rw, inputs, thin):
        return None
    return rw.op.Expand(rw.op(node.op_type, *inputs, **rw.attrs(node)), expand.inputs[1])


@plugin.rewrite(*_NEUTRAL)
def _neutral(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """And(true, x) -> x, Mul(1, x) -> x and Add(0, x) -> x, where x has the result's shape, the constant any."""
    x = _passed_on(rw, node)
    return x if x is not None and rw.same_shape(x, node.outputs[0]) else None


@plugin.rewrite("Transpose", late=True)  # before, it may cancel
def _moved_ones(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """A change of layout that leaves all axes but those of size 1 in their order; of known sizes it is a Reshape."""
    view = rw.view(node.outputs[0])
    if view is None:
        return None
    own = rw.axes(view.root)
    if [axis for axis in own if axis] != [axis for axis in view.axes if axis]:
        return None
    result = view.root
    for op_type, axes in (("Squeeze", own), ("Unsqueeze", view.axes)):
        ones = [place for place, axis in enumerate(axes) if not axis]
        result = rw.op(op_type, result, rw.const(ones, np.int64))
    return result


def _broadcast_to(rw: Rewriter, operands: Sequence[ir.Value | None], shape: Shape | None) -> bool:
    """Whether operands have this shape together."""
    return same_shape(broadcast_shapes([rw.shape(value) for value in operands]), shape)


def _thinner(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """A value that is broadcast to this one, None if there is none."""
    made = rw.producer(value, "Expand", *traits.LAYOUT, *_NEUTRAL)
    if made is None or made.op_type == "Expand":
        return None if made is None else made.inputs[0]
    number = _written_out(rw, value)
    if number is not None:
        return rw.const(number.reshape(()))
    layout = rw.producer(value, *traits.RESHAPES)
    view = rw.view(layout.outputs[0]) if layout is not None else None
    node = rw.producer(view.root if view is not None else value, *_NEUTRAL)
    thin = _passed_on(rw, node) if node is not None else None
    if thin is None or view is None or node is None:
        return thin
    sizes, axes = rw.shape(thin) or (), rw.axes(node.outputs[0])
    if len(sizes) != len(axes):
        return None
    return rw.arranged(
        thin, tuple(() if size == 1 else axis for size, axis in zip(sizes, axes, strict=True)), view.axes
    )


def _passed_on(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    neutral = _NEUTRAL[node.op_type]
    for one, other in rw.both_ways(node):
        array = rw.constant(one)
        numbers = _written_out(rw, one) if array is None else array
        if numbers is None:
            continue
        if numbers.size > _MOST_NUMBERS:  # cost: of the comparison below
            continue
        if not (numbers == neutral).all():
            continue
        # Of floats, -0 + 0 is 0.
        if node.op_type != "Add" or np.signbit(numbers).all() or not rw.range(other).negative_zero:
            return other
    return None


def _written_out(rw: Rewriter, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """The one number that was broadcast to a value, as an array; None for a constant that was not broadcast."""
    for step in range(_LONGEST_CHAIN):
        array = rw.constant(value)
        if array is not None:
            return array if step and array.size == 1 else None
        node = rw.producer(value, "Expand", *traits.LAYOUT)
        if node is None:
            return None
        value = node.inputs[0]
    return None
