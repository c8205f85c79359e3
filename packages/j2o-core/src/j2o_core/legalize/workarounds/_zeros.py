"""Where on floats: the runtime makes a negative zero that the condition chooses positive, one that it does not stays.

Its kernel takes whatever is not zero from the first operand, and the rest from the second, whose zeros keep their sign.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ...graph import traits
from ...rewrite import Rewriter
from ...target import INTEGERS

T = ir.DataType


def choose(rw: Rewriter, node: ir.Node) -> Any:
    """The operand that may be -0 goes second; Where(c, -x, x) becomes a product. Declined where both may be -0."""
    op, (condition, yes, no) = rw.op, node.inputs
    if condition is None or yes is None or no is None or _all_blind(node.outputs[0]):
        return None
    flipped = False
    producer = condition.producer()
    while producer is not None and producer.op_type == "Not" and producer.inputs[0] is not None:
        # The runtime removes it by changing the operands for one another.
        condition, yes, no, flipped = producer.inputs[0], no, yes, not flipped
        producer = condition.producer()
    if _negates(yes, no) or _negates(no, yes):
        number, signs = (no, (-1.0, 1.0)) if _negates(yes, no) else (yes, (1.0, -1.0))
        return op.Mul(number, op.Where(condition, *(op.const(sign, number) for sign in signs)))
    if _is_no_zero(rw, yes, condition) or not rw.range(yes).negative_zero:
        if not flipped:
            return None
    elif not rw.range(no).negative_zero:
        # Not Not(condition), see above.
        known = rw.constant(condition)
        opposite = op.Xor(condition, op.const(True)) if known is None else op.const(~known)
        condition, yes, no = opposite, no, yes
    else:
        return None
    return op.plain("Where", condition, yes, no)


def _negates(a: ir.Value, b: ir.Value) -> bool:
    producer = a.producer()
    return producer is not None and producer.op_type == "Neg" and producer.inputs[0] is b


def _is_no_zero(rw: Rewriter, value: ir.Value, condition: ir.Value) -> bool:
    """Whether the condition is that a value is above a number >= 0, or below a number <= 0."""
    compare = condition.producer()
    if compare is None or compare.op_type not in ("Greater", "Less") or value not in compare.inputs:
        return False
    place = 0 if compare.inputs[0] is value else 1
    other = compare.inputs[1 - place]
    bound = rw.constant(other) if other is not None else None
    if bound is None:
        return False
    is_above = (compare.op_type == "Greater") == (place == 0)
    return bool((bound >= 0).all() if is_above else (bound <= 0).all())


def _all_blind(value: ir.Value) -> bool:
    if value.is_graph_output():
        return False
    return all(
        user.op_type in traits.IGNORES_SIGN_OF_ZERO
        or (user.op_type == "Cast" and user.outputs[0].dtype in (T.BOOL, *INTEGERS))
        for user, _ in value.uses()
    )
