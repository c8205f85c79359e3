"""HardSigmoid and HardSwish-14.

before: Clip(alpha * x + beta, 0, 1)        or number * Clip(alpha * x + beta, 0, 1 / number)
        Clip(alpha * (x + beta), 0, 1)      a convolution may have taken the sum in: number * Clip(x, 0, 1 / number)
after:  HardSigmoid(x, alpha, beta)
before: x * Clip(x + 3, 0, 6) / 6           in any order
after:  HardSwish(x)

HardSigmoid takes 0.36 of the time of Add, Clip and Div, HardSwish 0.56 of that with another Mul (ONNX Runtime 1.31).
(x + 3) / 6 comes out as x / 6 + 0.5: next to x = -3 the result is that of an x one and a half units in the last place
away (6e-8 from JAX's, which is nearly 0 there), and as exact as JAX's elsewhere. NaN and infinities are JAX's.

Declines for float64, for which there is no kernel and whose numbers the attributes do not hold, for other bounds, and
where |beta| is more than 1.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin
from .._half import UP_TO_FLOAT32
from ._multiples import number_times


@plugin.rewrite("Clip", "Mul", "Div", makes="HardSigmoid", needs=("Clip",))
def _hard_sigmoid(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    number, gate = number_times(rw, node.outputs[0])
    line = _clipped_line(rw, gate, number)
    if line is None:
        return None
    x, alpha, beta = line
    return rw.op.HardSigmoid(x, alpha=alpha, beta=beta)


@plugin.rewrite("Mul", "Div", makes="HardSwish", needs=("Clip", "HardSigmoid"))
def _hard_swish(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    number, inner = number_times(rw, node.outputs[0])
    product = rw.producer(inner, "Mul")
    if product is None:
        return None
    for x, gate in (product.inputs, product.inputs[::-1]):
        line = _hard_sigmoid_of(rw, gate, number) if gate is not None else None
        if line is None or line[0] is not x:
            continue
        if _is_quotient(line[1], 6, x) and math.isclose(line[2], 3 * line[1], rel_tol=1e-6):
            return rw.op.HardSwish(x)
    return None


def _hard_sigmoid_of(rw: Rewriter, gate: ir.Value, number: float) -> tuple[ir.Value, float, float] | None:
    """(x, alpha, beta) if number * gate is HardSigmoid(x, alpha, beta), decomposed or not."""
    node = rw.producer(gate, "HardSigmoid")
    if node is None or node.inputs[0] is None:
        return _clipped_line(rw, gate, number)
    return (node.inputs[0], rw.attr(node, "alpha", 0.2), rw.attr(node, "beta", 0.5)) if number == 1 else None


def _clipped_line(rw: Rewriter, gate: ir.Value, number: float) -> tuple[ir.Value, float, float] | None:
    """(x, alpha, beta) if number * gate is alpha * x + beta between 0 and 1."""
    node = rw.producer(gate, "Clip")
    if node is None or len(node.inputs) != 3 or node.inputs[0] is None:
        return None
    low, high = rw.scalar(node.inputs[1]), rw.scalar(node.inputs[2])
    if low != 0 or high is None or not 0 < high < math.inf or not _is_quotient(number, high, gate):
        return None
    line = _line(rw, node.inputs[0]) or (node.inputs[0], 1.0, 0.0)
    if number == 1 and line[2] == 0:
        return None  # Clip alone
    if gate.dtype not in UP_TO_FLOAT32:
        return rw.decline(f"the dtype is {gate.dtype}")
    # A line that starts far from zero is nearly 0 where it is clipped: rounded to its start, it would lose that.
    if not abs(line[2] * number) <= 1:
        return rw.decline(f"beta is {line[2] * number:g}, beyond -1 to 1")
    return line[0], line[1] * number, line[2] * number


def _line(rw: Rewriter, value: ir.Value) -> tuple[ir.Value, float, float] | None:
    """(x, alpha, beta) of alpha * x + beta, or of that times a number."""
    scale, inner = number_times(rw, value)
    for total, rest, beta in rw.with_number(inner, "Add", "Sub"):
        alpha, x = number_times(rw, rest) if rw.only_use(rest) else (1.0, rest)
        if alpha != 0 and math.isfinite(alpha) and rw.same_shape(x, value):
            return x, scale * alpha, scale * (beta if total.op_type == "Add" else -beta)
    return None


def _is_quotient(number: float, divisor: float, like: ir.Value) -> bool:
    """Whether a number is 1 / divisor, perhaps rounded to the dtype of a value."""
    assert like.dtype is not None
    rounded = float(np.asarray(1 / divisor, like.dtype.numpy()))
    return any(math.isclose(number, quotient, rel_tol=1e-7) for quotient in (1 / divisor, rounded))
