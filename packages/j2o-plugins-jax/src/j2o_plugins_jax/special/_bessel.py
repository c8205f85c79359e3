"""Modified Bessel functions of the first kind, scaled by exp(-|x|): bessel_i0e, bessel_i1e."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext

from .._plugin import plugin
from .._precision import in_float32
from ._interpolation import Interpolant

# Where the power series ends and the series in 1/x begins.
_FAR = 8.0


def _power_series(order: int, x: float) -> float:
    """exp(-x) I(x)/x^order."""
    term = math.ldexp(math.exp(-x), -order) / math.factorial(order)
    total, k = 0.0, 0
    while k < 10 or term > 1e-18 * total:
        total, k = total + term, k + 1
        term *= x * x / 4 / (k * (k + order))
    return total


def _far_factor(order: int, inverse: float) -> float:
    """sqrt(x) exp(-x) I(x) as a function of 1/x."""
    if inverse > 1 / 40:
        x = 1 / inverse
        return _power_series(order, x) * math.pow(x, order + 0.5)
    term, total = 1.0, 0.0  # the asymptotic series, whose terms still shrink where they are below rounding
    for k in range(1, 30):
        total += term
        term *= -(4 * order**2 - (2 * k - 1) ** 2) / (8 * k) * inverse
    return total / math.sqrt(2 * math.pi)


def _interpolants(order: int, near_degree: int, far_degree: int) -> tuple[Interpolant, Interpolant]:
    return (
        Interpolant(functools.partial(_power_series, order), 0.0, _FAR, near_degree),
        Interpolant(functools.partial(_far_factor, order), 0.0, 1 / _FAR, far_degree),
    )


_INTERPOLANTS = {
    (order, kind): _interpolants(order, *degrees)
    for order in (0, 1)
    for kind, degrees in {np.float32: (14, 6), np.float64: (26, 24)}.items()
}


def _bessel_ie(ctx: LoweringContext, x: ir.Value, *, order: int) -> Any:
    near, far = _INTERPOLANTS[order, ctx.dtype(x).type]
    op, edge = ctx.op, ctx.const(_FAR, x)
    magnitude = op.Abs(x)
    small, large = near(op, op.Min(magnitude, edge)), op.Max(magnitude, edge)
    inverse = op.Reciprocal(large)
    large = op.Mul(far(op, inverse), op.Sqrt(inverse))
    if order:  # odd
        small, large = op.Mul(small, x), op.Mul(large, op.Sign(x))
    return op.Where(op.Less(magnitude, edge), small, large)


plugin.lowering("bessel_i0e")(in_float32(functools.partial(_bessel_ie, order=0)))
plugin.lowering("bessel_i1e")(in_float32(functools.partial(_bessel_ie, order=1)))
