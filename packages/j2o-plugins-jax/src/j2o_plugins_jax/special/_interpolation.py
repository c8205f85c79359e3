"""Polynomials in the place of functions without an operator: interpolated when first needed, not tabulated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.polynomial import chebyshev

# The functions below are smooth enough on these intervals for the powers to be as good as Chebyshev's polynomials.


@dataclass(frozen=True)
class Interpolant:
    """A polynomial through a function at the Chebyshev points of an interval.

    Attributes:
        function: maps a float to a float; accurate to float64.
        low: where the interval begins.
        high: where it ends.
        degree: of the polynomial; tests hold the error that follows.
    """

    function: Callable[[float], float]
    low: float
    high: float
    degree: int

    @functools.cached_property
    def coefficients(self) -> tuple[float, ...]:
        """By powers of the position in the interval, which runs from -1 to 1; the constant first."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        function = np.vectorize(lambda position: self.function(middle + half * position))
        return tuple(map(float, chebyshev.cheb2poly(chebyshev.chebinterpolate(function, self.degree))))

    def __call__(self, op: Any, x: ir.Value) -> Any:
        """Nodes that evaluate it: Horner's rule. Arguments outside of the interval give nothing useful."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return horner(op, self.coefficients, op.Mul(op.Sub(x, op.const(middle, x)), op.const(1 / half, x)))


def horner(op: Any, coefficients: Sequence[float], x: ir.Value) -> Any:
    """Nodes that evaluate a polynomial, whose constant comes first."""
    result = op.const(coefficients[-1], x)
    for coefficient in coefficients[-2::-1]:
        result = op.Add(op.Mul(result, x), op.const(coefficient, x))
    return result
