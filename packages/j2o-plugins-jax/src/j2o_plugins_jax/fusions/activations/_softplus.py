"""Softplus, and other sums of exponentials in their logarithms.

before: Where(IsNaN(x - c), x + c, Max(x, c) + y)       with a number c; 0 and Relu in softplus
after:  Max(x, c) + y

before: log1p(e) = e * Where(d = 0, 1, Log(u) / Min(d, largest))      with e = Exp(-|z|), u = 1 + e, d = u - 1
after:  Log(u) + (e - d)

What the sum u has lost of e is e - d, which is at most half a unit in the last place of u: adding it to the logarithm
is as exact as the general form (4 units of float32, 3 of float64, over all x), which has to take in infinities too, and
takes 0.66 of its time. ONNX has Softplus; the kernel of ONNX Runtime 1.31 is as exact, for float32 and float16 only,
but takes 3.2 times as long as the general form (2.2 times for float16).
"""

from __future__ import annotations

import math

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin


@plugin.rewrite("Where")
def _nan_guard(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    condition, nan, y = node.inputs
    equal, total = rw.producer(rw.operand_of(condition, "Not"), "Equal"), rw.producer(y, "Add")
    if equal is None or total is None or equal.inputs[0] is not equal.inputs[1] or y is None:
        return None
    # Relu, Max and sums keep NaN, and make none of finite numbers.
    x = _without_number(rw, equal.inputs[0])
    is_kept = any(x in side.inputs for one in total.inputs if (side := rw.producer(one, "Relu", "Max")) is not None)
    is_nan = _without_number(rw, nan) is x
    return y if is_kept and is_nan and rw.same_shape(y, node.outputs[0]) else None


def _without_number(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The x of x + c, x - c and c - x with a finite number c; else the value."""
    node = rw.producer(value, "Add", "Sub")
    for x, c in rw.both_ways(node):
        number = rw.scalar(c)
        if number is not None and math.isfinite(number):
            return x
    return value


@plugin.rewrite("Mul")
def _log1p_of_fraction(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for choice, e in rw.operands(node, "Where"):
        flat, one, quotient = choice.inputs
        division, zero = rw.producer(quotient, "Div"), rw.producer(flat, "Equal")
        if division is None or zero is None or rw.scalar(one) != 1 or rw.scalar(zero.inputs[1]) != 0:
            continue
        log, least = rw.producer(division.inputs[0], "Log"), rw.producer(division.inputs[1], "Min")
        difference = zero.inputs[0]
        if log is None or least is None or least.inputs[0] is not difference or difference is None:
            continue
        if len(least.inputs) != 2 or not rw.same_shape(e, node.outputs[0]):
            continue
        if not (rw.scalar(least.inputs[1]) or 0) >= 1:
            continue  # d is at most 1: a bound that it may pass is something else
        u = log.inputs[0]
        if _is_sum_with_one(rw, u, e) and _is_one_less(rw, difference, u) and _is_fraction(rw, e):
            return rw.op.Add(log.outputs[0], rw.op.Sub(e, difference))
    return None


def _is_sum_with_one(rw: Rewriter, u: ir.Value | None, e: ir.Value) -> bool:
    return any(other is e and rw.scalar(one) == 1 for one, other in rw.both_ways(rw.producer(u, "Add")))


def _is_one_less(rw: Rewriter, difference: ir.Value, u: ir.Value | None) -> bool:
    node = rw.producer(difference, "Sub")
    return node is not None and node.inputs[0] is u and rw.scalar(node.inputs[1]) == 1


def _is_fraction(rw: Rewriter, e: ir.Value) -> bool:
    """Whether a value is Exp(-|z|), in another dtype perhaps."""
    exponent = rw.operand_of(rw.before(e, "Cast"), "Exp")
    return rw.producer(rw.operand_of(exponent, "Neg"), "Abs") is not None
