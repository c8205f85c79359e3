"""Division of integers by a positive number n, the same for all elements: remainders and floored quotients.

before: Where(Less(r, 0), Add(r, n), r) with r = Sub(x, Mul(Div(x, n), n))    after: Mod(x, n)
before: Sub(x, Mul(Div(x, n), n)), few elements that are not negative         after: Mod(x, n)
before: Where(And(Not(Equal(Sign(x), 1)), Cast(r)), Sub(Div(x, n), 1), Div(x, n)), or Not(Equal(r, 0)) for Cast(r)
after:  Div(x, n), Div(Sub(x, Mod(x, n)), n) or Sub(Div(Add(x, b), n), b) with b = Cast(Less(x, 0))

`x % n` is the first, `lax.rem(x, n)` the second, `x // n` the third: Div is enough where x is not negative, and few
elements that are far enough from the least number have the second form. The same numbers: Mod has the sign of n, which
is no divisor that a processor refuses (0, and -1 of the least number). Of 100,000 int32 (ONNX Runtime 1.32, one thread)
Mod takes 1.5 ms, the six nodes of the first 1.3 ms, or 0.4 ms where the choice is a sum (`_integer_choices`), the three
of the second 0.2 ms.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin
from ._conditions import unequal

# Elements up to which Mod takes less time than the nodes of the second form, and than a choice that is a sum.
_FEW, _MANY = 128, 4096


@plugin.rewrite("Where", late=True, needs=("Div",))
def _floored(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    is_negative, total, rest = node.inputs
    less, add = rw.producer(is_negative, "Less"), rw.producer(total, "Add")
    if less is None or less.inputs[0] is not rest or rw.scalar(less.inputs[1]) != 0:
        return None
    size = rw.size(rest)
    if size is not None and size > _MANY:  # cost: then the choice is a sum
        return None
    x, divisor = _division(rw, rest)
    if divisor is None or not any(one is rest and rw.scalar(n) == rw.scalar(divisor) for one, n in rw.both_ways(add)):
        return None
    return _remainder(rw, x, divisor, node)


@plugin.rewrite("Sub", late=True, needs=("Div",))
def _truncated(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, divisor = _division(rw, node.outputs[0])
    return _remainder(rw, x, divisor, node) if _is_few(rw, x) and rw.range(x).low >= 0 else None


@plugin.rewrite("Where", late=True, needs=("Div", "Sign"))
def _floored_quotient(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    condition, lower, quotient = node.inputs
    divide, subtract = rw.producer(quotient, "Div"), rw.producer(lower, "Sub")
    if divide is None or subtract is None or subtract.inputs[0] is not quotient or rw.scalar(subtract.inputs[1]) != 1:
        return None
    x, divisor = divide.inputs
    n = rw.scalar(divisor)
    if x is None or x.dtype is None or not x.dtype.is_integer() or n is None or n <= 0:
        return None
    if not rw.same_shape(x, node.outputs[0]) or not any(
        rw.operand_of(_unlike(rw, one, 1), "Sign") is x and _is_rest(rw, _unlike(rw, other, 0), x, n)
        for one, other in rw.both_ways(rw.producer(condition, "And"))
    ):
        return None
    low, op = rw.range(x).low, rw.op
    if low >= 0:
        return quotient
    if _is_few(rw, x) and rw.target.runs("Mod", x.dtype) and low - n >= np.iinfo(x.dtype.numpy()).min:
        return op.Div(op.Sub(x, op.Mod(x, divisor)), divisor)
    below = op.Cast(op.Less(x, op.const(0, x)), to=x.dtype)
    return op.Sub(op.Div(op.Add(x, below), divisor), below)


def _unlike(rw: Rewriter, value: ir.Value | None, number: int) -> ir.Value | None:
    """The x of x != number."""
    operands = unequal(rw, value)
    return next((x for x, other in zip(operands, operands[::-1], strict=True) if rw.scalar(other) == number), None)


def _is_rest(rw: Rewriter, value: ir.Value | None, x: ir.Value, n: float) -> bool:
    """Whether a value is what a division of x by n leaves, rounded either way."""
    mod = rw.producer(value, "Mod")
    divided, divisor = mod.inputs if mod is not None else _division(rw, value)
    return divided is x and rw.scalar(divisor) == n


def _division(rw: Rewriter, rest: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """The x and the constant n of Sub(x, Mul(Div(x, n), n)) of integers with n > 0."""
    subtract = rw.producer(rest, "Sub")
    if subtract is None or not rw.is_integer(rest):
        return None, None
    for quotient, n in rw.both_ways(rw.producer(subtract.inputs[1], "Mul")):
        divide, number = rw.producer(quotient, "Div"), rw.scalar(n)
        if divide is not None and divide.inputs[0] is subtract.inputs[0] and number is not None and number > 0:
            x, divisor = divide.inputs
            if rw.scalar(divisor) == number:
                return x, divisor
    return None, None


def _is_few(rw: Rewriter, x: ir.Value | None) -> bool:
    size = rw.size(x)
    return size is not None and size <= _FEW


def _remainder(rw: Rewriter, x: ir.Value | None, divisor: ir.Value | None, node: ir.Node) -> ir.Value | None:
    if x is None or not rw.same_shape(x, node.outputs[0]):
        return None
    if not rw.target.runs("Mod", x.dtype):  # cost: of casts
        return None
    return rw.op.Mod(x, divisor)
