"""Elu, and e^x - 1 of numbers that are not positive.

before: Where(x >= 0, x, alpha * (Exp(x) - 1))      with Exp of x, of Min(x, 0) or of Where(x > 0, 0, x)
after:  Elu(x, alpha)
before: Where(x > 0, x, alpha * (Exp(x) - 1))       which makes a negative zero positive
after:  Selu(x, alpha, gamma=1)

before: expm1(x) = Where(Abs(x) >= 1, Exp(x) - 1, y)        with y = 2t / (1 - t), t = Tanh(x / 2)
after:  y                                                   for x = Min(z, 0) or Where(z > 0, 0, z), scaled perhaps

The last is a part of `jax.nn.elu`, `selu` and `celu`: they use expm1, which keeps the digits of small numbers. The
kernels of Elu, Selu and Celu compute Exp(x) - 1 (ONNX Runtime 1.31): elu(-1e-8) is 0 and elu(-1e-4) wrong in the fourth
digit. So they stand only for what was written with Exp. For x below zero 1 - t does not cancel, y has all digits
(3e-7), and takes as long as the operators: 0.9 to 1.1 of Elu and Selu, 0.6 of Celu.

Declines for float64, whose numbers the attributes do not hold.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin
from ._choices import choice
from ._multiples import number_times

_DTYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@plugin.rewrite("Where", makes="Elu")
def _elu(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    sign = choice(rw, node)
    if sign is None or sign.bound != 0 or sign.above is not sign.x:
        return None
    alpha, curve = number_times(rw, sign.below)
    exp = rw.producer(_without_one(rw, curve), "Exp")
    if exp is None:
        return None
    if exp.inputs[0] is not sign.x and _above_zero_is_zero(rw, exp.inputs[0]) is not sign.x:
        return None
    if sign.x.dtype not in _DTYPES:
        return rw.decline(f"the dtype is {sign.x.dtype}")
    if not math.isfinite(alpha) or alpha <= 0:
        return rw.decline(f"alpha is {alpha:g}, not positive")
    if sign.equal_above:
        return rw.op.Elu(sign.x, alpha=alpha)
    return rw.op.Selu(sign.x, alpha=alpha, gamma=1.0)


@plugin.rewrite("Where")
def _expm1_below_zero(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    _, far, near = node.inputs  # both are the same number, whichever is chosen
    x, quotient = rw.operand_of(_without_one(rw, far), "Exp"), rw.producer(near, "Div")
    if x is None or quotient is None or near is None or not rw.same_shape(near, node.outputs[0]):
        return None
    factor, least = number_times(rw, x)
    if factor <= 0 or _above_zero_is_zero(rw, least) is None:
        return None
    two, t = number_times(rw, quotient.inputs[0]) if quotient.inputs[0] is not None else (0.0, None)
    rest, tanh = rw.producer(quotient.inputs[1], "Sub"), rw.producer(t, "Tanh")
    if two != 2 or rest is None or tanh is None or rw.scalar(rest.inputs[0]) != 1 or rest.inputs[1] is not t:
        return None
    half, argument = number_times(rw, tanh.inputs[0]) if tanh.inputs[0] is not None else (0.0, None)
    return near if half == 0.5 and argument is x else None


def _without_one(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The y of y - 1."""
    sums = rw.with_number(value, "Sub", "Add")
    return next((y for node, y, number in sums if number == (1 if node.op_type == "Sub" else -1)), None)


def _above_zero_is_zero(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The z of Min(z, 0) and of Where(z > 0, 0, z)."""
    if (least := rw.producer(value, "Min")) is not None and len(least.inputs) == 2:
        return next((z for _, z, number in rw.with_number(value, "Min") if number == 0), None)
    sign = choice(rw, rw.producer(value))
    if sign is None or sign.bound != 0 or sign.below is not sign.x or rw.scalar(sign.above) != 0 or sign.nan_above:
        return None
    return sign.x
