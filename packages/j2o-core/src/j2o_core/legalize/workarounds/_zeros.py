"""Where on floats: the runtime makes a negative zero that the condition chooses positive, one that it does not stays.

Its kernel takes whatever is not zero from the first operand, and the rest from the second, whose zeros keep their sign.
It takes 4 ns for each element of a mask whose values change, a product a tenth of that: so a choice between many finite
numbers and one constant is a product.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph import traits
from ...rewrite import Rewriter
from ...target import FLOATS, INTEGERS

T = ir.DataType


# Numbers from which a choice is a product.
_MANY = 16384
# Operators from a mask to the comparison that made it.
_DEPTH = 8
# Values computed from a choice that are looked at.
_READERS = 16


def choose(rw: Rewriter, node: ir.Node) -> Any:
    """The operand that may be -0 goes second, or the choice is a product if all numbers are finite."""
    condition, yes, no = node.inputs
    if condition is None or yes is None or no is None:
        return None
    blind = _is_unseen(rw, node.outputs[0])

    def kernel(rw: Rewriter) -> Any:
        mended = None if blind else _signed(rw, condition, yes, no)
        return rw.op.plain("Where", condition, yes, no) if mended is None else mended

    dtype = node.outputs[0].dtype
    assert dtype is not None
    for number, constant, chosen in ((yes, no, True), (no, yes, False)):
        fill = rw.scalar(constant)
        if fill is None or not _is_product(rw, condition, number, fill, blind):
            continue

        def product(rw: Rewriter, number: ir.Value = number, fill: float = fill, chosen: bool = chosen) -> Any:
            op = rw.op
            keep = op.cast(condition if chosen else op.Xor(condition, op.const(True)), dtype)
            kept = op.Mul(number, keep)
            if fill == 0 and blind:
                return kept
            # Either -0, which added to a number leaves it, or the constant.
            one = op.const(1, number)
            if fill < 0:
                return op.Add(kept, op.Mul(op.Sub(one, keep), op.const(fill, number)))
            return op.Add(kept, op.Mul(op.Sub(keep, one), op.const(-fill, number)))

        span = rw.range(number)
        if not span.nan and math.isfinite(span.low) and math.isfinite(span.high):
            return product(rw)
        is_finite = rw.op.Less(rw.op.Abs(rw.op.ReduceSum(number, keepdims=0)), rw.op.const(np.inf, number))
        return rw.op.If(is_finite, then_branch=rw.branch(product), else_branch=rw.branch(kernel))
    return None if blind else _signed(rw, condition, yes, no)


def _is_product(rw: Rewriter, condition: ir.Value, number: ir.Value, fill: float, blind: bool) -> bool:
    """Whether a choice between numbers and a constant takes longer than a product."""
    sizes = [size for size in rw.shape(number) or () if isinstance(size, int)]
    floats = number.dtype in (T.FLOAT, T.DOUBLE)
    if not floats or not rw.same_shape(condition, number) or math.prod(sizes) < _MANY:  # cost: of the kernel
        return False
    if rw.constant(condition) is not None:
        return False
    if not _changes(condition, _DEPTH):  # cost: the kernel predicts a mask that hardly changes
        return False
    return math.isfinite(fill) and (blind or fill != 0 or math.copysign(1, fill) > 0)


def _changes(mask: ir.Value, depth: int) -> bool:
    """Whether a mask changes from place to place: of floats that are compared, not of positions, or of what is NaN."""
    node = mask.producer()
    if node is None or depth == 0:  # cost: of the search
        return True
    if node.op_type in traits.COMPARISONS:
        left, right = node.inputs
        return left is not right and left is not None and left.dtype not in (T.BOOL, *INTEGERS)
    operands = [value for value in node.inputs if value is not None and value.dtype is T.BOOL]
    return any(_changes(value, depth - 1) for value in operands) or node.op_type == "Cast"


def _signed(rw: Rewriter, condition: ir.Value, yes: ir.Value, no: ir.Value) -> Any:
    """Where with the operand second that may be -0; Where(c, -x, x) is a product. None where both or none may be."""
    op, flipped = rw.op, False
    while (inner := rw.operand_of(condition, "Not")) is not None:
        # The runtime removes it by changing the operands for one another.
        condition, yes, no, flipped = inner, no, yes, not flipped
    if rw.operand_of(yes, "Neg") is no or rw.operand_of(no, "Neg") is yes:
        number, signs = (no, (-1.0, 1.0)) if rw.operand_of(yes, "Neg") is no else (yes, (1.0, -1.0))
        return op.Mul(number, op.Where(condition, *(op.const(sign, number) for sign in signs)))
    if not flipped and (compare := _truncated(rw, condition, yes, no)) is not None:
        # For zeros both are right, and Floor makes no -0 of a number above them.
        up, down = (yes, no) if compare.op_type == "Less" else (no, yes)
        condition, yes, no = op.Greater(*compare.inputs), down, up
    elif _is_no_zero(rw, yes, condition) or not rw.range(yes).negative_zero:
        if not flipped:
            return None
    elif not rw.range(no).negative_zero:
        condition, yes, no = _opposite(rw, condition), no, yes
    else:
        return None
    return op.plain("Where", condition, yes, no)


def _opposite(rw: Rewriter, condition: ir.Value) -> Any:
    """The opposite of a condition, without Not, which the runtime takes out by changing operands for one another."""
    op, known = rw.op, rw.constant(condition)
    if known is not None:
        return op.const(~known)
    compare = rw.producer(condition, "Equal", *traits.OPPOSITES)
    if compare is not None:
        x, y = compare.inputs
        assert x is not None
        if compare.op_type == "Equal":
            if x is y and x.dtype in FLOATS:
                return op.IsNaN(x)
        elif not (rw.range(x).nan or rw.range(y).nan):
            return op(traits.OPPOSITES[compare.op_type], x, y)
        is_finite = compare.op_type == "Less" and rw.scalar(y) == math.inf and x.dtype in (T.FLOAT, T.DOUBLE)
        magnitude = rw.producer(x, "Abs") if is_finite else None
        if magnitude is not None and rw.only_use(condition) and rw.only_use(magnitude.outputs[0]):
            return op.IsNaN(op.Sub(magnitude.inputs[0], magnitude.inputs[0]))
    return op.Xor(condition, op.const(True))


def _truncated(rw: Rewriter, condition: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Node | None:
    """Less of Where(x < 0, Ceil(x), Floor(x)), GreaterOrEqual of Where(x >= 0, Floor(x), Ceil(x))."""
    compare = rw.producer(condition, "Less", "GreaterOrEqual")
    if compare is None or rw.scalar(compare.inputs[1]) != 0:
        return None
    up, down = (yes, no) if compare.op_type == "Less" else (no, yes)
    rounded = [rw.producer(up, "Ceil"), rw.producer(down, "Floor")]
    return compare if all(node is not None and node.inputs[0] is compare.inputs[0] for node in rounded) else None


def _is_no_zero(rw: Rewriter, value: ir.Value, condition: ir.Value) -> bool:
    """Whether the condition is that a value is above a number >= 0, or below a number <= 0."""
    compare = rw.producer(condition, "Greater", "Less")
    if compare is None or value not in compare.inputs:
        return False
    place = 0 if compare.inputs[0] is value else 1
    bound = rw.constant(compare.inputs[1 - place])
    if bound is None:
        return False
    is_above = (compare.op_type == "Greater") == (place == 0)
    return bool((bound >= 0).all() if is_above else (bound <= 0).all())


def _is_unseen(rw: Rewriter, value: ir.Value) -> bool:
    """Whether nothing that is computed from a value shows the sign of its zeros."""
    passed = [value]
    for value in passed:
        if value.is_graph_output():
            return False
        if len(passed) > _READERS:  # cost: of the look
            return False
        for user, place in value.uses():
            if not _is_blind(rw, user, place):
                if not _passes_on(user, place):
                    return False
                passed += [result for result in user.outputs if result not in passed]
    return True


def _is_blind(rw: Rewriter, user: ir.Node, place: int) -> bool:
    """Whether the results of a node are the same for zeros of either sign at a place."""
    if user.op_type in ("Add", "Sub") and not (user.op_type == "Sub" and place == 0):
        # Of zeros only -0 + -0 is one with a sign. The runtime takes out a 0 that is added.
        other = user.inputs[1 - place]
        return not rw.range(other).negative_zero and rw.scalar(other) != 0
    return user.op_type in traits.IGNORES_SIGN_OF_ZERO or (
        user.op_type == "Cast" and user.outputs[0].dtype in (T.BOOL, *INTEGERS)
    )


def _passes_on(user: ir.Node, place: int) -> bool:
    if user.op_type == "Cast":
        return user.outputs[0].dtype in FLOATS
    if user.op_type in ("Div", "Where"):  # a dividend
        return (place == 0) == (user.op_type == "Div")
    return not user.domain and user.op_type in traits.PASSES_ZERO_ON
