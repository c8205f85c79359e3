"""Gelu-20, exact and tanh.

before: 0.5 * x * j2o::Erfc(-x * sqrt(1/2))        or  0.5 * x * (1 + Erf(x * sqrt(1/2)))
        0.5 * x * (1 + Tanh(sqrt(2/pi) * (x + 0.044715 * x * x * x)))       or  ... x * (1 + 0.044715 * x * x)
        0.5 * x * (1 - Erf(-x * sqrt(1/2)))   and each as 0.5 * x + 0.5 * x * Erf(...) or 0.5 * (x + x * Erf(...))
after:  Gelu(x, approximate="none" | "tanh")  at opset 20 and later
        x * (1 + Erf(x / sqrt(2))) * 0.5      below, the form that ONNX Runtime fuses; bfloat16 in float32

Declines for float64, for which the standard's own function has constants of float32, and for other constants.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin

# Relative, of the constants: people write 0.79788 for sqrt(2 / pi), and half precision rounds what they write.
_TOLERANCE = 1e-5
_HALF_TOLERANCE = 4e-3


@plugin.rewrite("Mul", "Div", "Add", "Sub", makes="Gelu", needs=("Erf", "Tanh", "j2o::Erfc"))
def _gelu(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    number, factors = rw.product(node.outputs[0])
    found = None
    if len(factors) == 1:
        found = _distributed(rw, rw.producer(factors[0], "Add", "Sub"), number)
    elif len(factors) == 2 and _close(number, 0.5, node.outputs[0]):
        kinds = [(x, _gate(rw, gate, x)) for x, gate in (factors, factors[::-1])]
        found = next(((x, kind) for x, kind in kinds if kind is not None), None)
    if found is None or not rw.same_shape(found[0], node.outputs[0]):
        return None
    x, kind = found
    op_type = "Gelu" if rw.opset >= 20 else "Erf"
    if op_type == "Gelu" and x.dtype is ir.DataType.DOUBLE:
        return rw.decline("the operator is defined by a function with constants of float32")
    if not rw.target.runs_widened(op_type, x.dtype):
        return rw.decline(f"the target has no kernel of {op_type} for {x.dtype}")
    if kind == "none" and rw.opset < 20:
        y = rw.op.Cast(x, to=ir.DataType.FLOAT) if x.dtype is ir.DataType.BFLOAT16 else x
        half = rw.op.Erf(rw.op.Div(y, rw.const(math.sqrt(2), y)))
        one = rw.op.Add(half, rw.const(1, y))
        return rw.op.Cast(rw.op.Mul(rw.op.Mul(y, one), rw.const(0.5, y)), to=x.dtype)
    if rw.opset < 20:
        return rw.decline(f"the operator with tanh begins with opset 20, the program has {rw.opset}")
    return rw.op.Gelu(x, approximate=kind)


def _distributed(rw: Rewriter, total: ir.Node | None, number: float) -> tuple[ir.Value, str] | None:
    """(x, approximation) of number * (x + x * curve) that is 0.5 * (x + x * curve)."""
    ways, sign = _terms(rw, total)
    for plain, curved in ways:
        if plain is None or curved is None or rw.producer(curved, "Mul", "Div", "Neg") is None:
            continue
        first, one = rw.product(plain)
        second, two = rw.product(curved)
        if len(one) != 1 or len(two) != 2 or one[0] not in two or not _close(first * number, 0.5, plain):
            continue
        curve = two[1 - two.index(one[0])]
        kind = _curve(rw, curve, one[0], sign * math.copysign(1, second)) if _close(abs(second), first, plain) else None
        if kind is not None:
            return one[0], kind
    return None


def _gate(rw: Rewriter, gate: ir.Value, x: ir.Value) -> str | None:
    """Which approximation `gate` (the second factor, between 0 and 2) belongs to."""
    erfc = rw.producer(gate, "j2o::Erfc")
    if erfc is not None:
        return "none" if _is_scaled(rw, erfc.inputs[0], x, -math.sqrt(0.5)) else None
    ways, sign = _terms(rw, rw.producer(gate, "Add", "Sub"))
    return next((_curve(rw, curve, x, sign) for one, curve in ways if rw.scalar(one) == 1), None)


def _terms(rw: Rewriter, total: ir.Node | None) -> tuple[list[tuple[ir.Value | None, ...]], int]:
    """(first, second) of `first + sign * second`, in each order that there is, and the sign."""
    if total is not None and total.op_type == "Sub":
        return [tuple(total.inputs)], -1
    return list(rw.both_ways(total)), 1


def _curve(rw: Rewriter, curve: ir.Value | None, x: ir.Value, sign: float) -> str | None:
    """Which approximation `sign * curve` belongs to: an odd function of x, between -1 and 1."""
    node = rw.producer(curve, "Erf", "Tanh")
    if node is None:
        return None
    if node.op_type == "Tanh":
        return "tanh" if _is_tanh_argument(rw, node.inputs[0], x, sign) else None
    # The form written for opsets below 20 is left as it is.
    divides = rw.producer(node.inputs[0], "Div") is not None and rw.opset < 20 and sign > 0
    return "none" if _is_scaled(rw, node.inputs[0], x, sign * math.sqrt(0.5)) and not divides else None


def _is_scaled(rw: Rewriter, value: ir.Value | None, x: ir.Value, number: float) -> bool:
    if value is None:
        return False
    scale, factors = rw.product(value)
    if factors != [x]:
        return False
    return _close(scale, number, x) or bool(rw.decline(f"x is multiplied by {scale:.6g}, not {number:.6g}"))


def _is_tanh_argument(rw: Rewriter, value: ir.Value | None, x: ir.Value, sign: float) -> bool:
    """Whether it is sqrt(2/pi) * (x + 0.044715 x^3), or sqrt(2/pi) * x * (1 + 0.044715 x^2), with this sign."""
    if value is None:
        return False
    scale, factors = rw.product(value)
    if not _close(scale, sign * math.sqrt(2 / math.pi), x):
        return False
    others = [factor for factor in factors if factor is not x]
    if len(others) != 1 or len(factors) > 2:
        return False
    taken = len(factors) - 1  # how often x is in front of the sum
    for one, higher in rw.both_ways(rw.producer(others[0], "Add")):
        starts = rw.scalar(one) == 1 if taken else one is x
        if not starts or higher is None:
            continue
        number, powers = rw.product(higher)
        power = rw.producer(powers[0], "Pow") if len(powers) == 1 else None
        exponent = rw.scalar(power.inputs[1]) if power is not None and power.inputs[0] is x else None
        if powers == [x] * (3 - taken) or exponent == 3 - taken:
            return _close(number, 0.044715, x) or bool(rw.decline(f"x**3 is multiplied by {number:.6g}, not 0.044715"))
    return False


def _close(value: float, expected: float, like: ir.Value) -> bool:
    tolerance = _TOLERANCE if like.dtype is ir.DataType.FLOAT else _HALF_TOLERANCE
    return math.isclose(value, expected, rel_tol=tolerance)
