"""Numbers that are added and taken away again, and scaled twice.

before: Sub(Add(x, c), c)                                  after: x
before: Mul(Mul(x, s), c), s a power of two                after: Mul(x, s * c)

The same numbers: integers wrap around both ways, and floats are integers times a power of two here, small enough for
the sum to have no rounding, as `jax.random.uniform` makes them: bits of 1.0 to 2.0, less 1, times a width.
Declines for other floats, sums beyond the significand, -0, products below the normal numbers, and broadcasts.
"""

from __future__ import annotations

import math

import ml_dtypes
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Sub", late=True)
def _difference(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for _, x, term in rw.with_number(node.inputs[0], "Add"):
        is_taken_away = rw.scalar(node.inputs[1]) == term and rw.same_shape(x, node.outputs[0])
        if is_taken_away and (rw.is_integer(x) or _is_exact(rw, x, term)):
            return x
    return None


@plugin.rewrite("Mul", late=True)
def _scaled_once(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for product, factor in rw.operands(node, "Mul"):
        for x, scale in rw.both_ways(product):
            first, second, unit = rw.scalar(scale), rw.scalar(factor), _unit(rw, x)
            if x is None or not unit or not first or not second or abs(math.frexp(first)[0]) != 0.5:
                continue
            numbers, whole, info = rw.range(x), abs(first * second), ml_dtypes.finfo(rw.dtype(x))
            largest = max(abs(numbers.low), numbers.high) * max(abs(first), whole)
            fits = info.tiny <= min(unit * whole, unit * abs(first), whole) and max(largest, whole) <= info.max
            if fits and math.isfinite(whole) and rw.same_shape(x, node.outputs[0]):
                return rw.op.Mul(x, rw.const(first * second, x))
    return None


def _is_exact(rw: Rewriter, x: ir.Value, number: float) -> bool:
    """Whether x + number needs no more digits than a float has."""
    unit, span = _unit(rw, x), rw.range(x)
    if not unit or number % unit:
        return False
    digits = ml_dtypes.finfo(rw.dtype(x)).nmant + 1
    return max(-span.low, span.high) + abs(number) <= 2.0**digits * unit


def _unit(rw: Rewriter, x: ir.Value | None) -> float:
    """A power of two, of the normal numbers, of which the floats in a value are multiples; 0 if none is known."""
    if x is None or rw.is_integer(x):
        return 0
    if rw.is_integer(rw.operand_of(x, "Cast")):
        return 1
    for _, one, scale in rw.with_number(x, "Mul"):
        if scale > 0 and math.frexp(scale)[0] == 0.5:
            unit = _unit(rw, one) * scale
            return unit if unit >= ml_dtypes.finfo(rw.dtype(x)).tiny else 0
    return 0
