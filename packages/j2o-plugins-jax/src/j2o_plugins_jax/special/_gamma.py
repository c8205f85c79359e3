"""The gamma function's relatives: lgamma, digamma, zeta, polygamma, and the incomplete integrals."""

from __future__ import annotations

import fractions
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax

from j2o_core import LoweringContext
from j2o_core._compat import special_function

from .._plugin import plugin
from .._precision import in_float32

# From here on the asymptotic series are exact to float64 with eight terms.
_FAR = 8
_TERMS = 8


@functools.cache
def _bernoulli(count: int) -> tuple[float, ...]:
    """The numbers B2, B4, ..., from their recurrence."""
    numbers = [fractions.Fraction(1)]
    for n in range(1, 2 * count + 1):
        total = sum((math.comb(n + 1, k) * number for k, number in enumerate(numbers)), fractions.Fraction(0))
        numbers.append(-total / (n + 1))
    return tuple(float(number) for number in numbers[2::2])


def _polynomial(x: jax.Array, coefficients: list[float]) -> jax.Array:
    """By Horner's rule; the constant first."""
    result = x * 0 + coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


def _shifted(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The larger x as they are and those below 8 plus 7; and those below 8 as they are, with 1 for the others."""
    near = x < _FAR
    return jnp.where(near, x + (_FAR - 1), x), jnp.where(near, x, 1.0)


def _from_pole(x: jax.Array) -> jax.Array:
    """The distance from the nearest integer, which pi times x is not accurate enough for."""
    return x - jnp.round(x)


def lgamma(x: jax.Array) -> jax.Array:
    """log|gamma(x)| by Stirling's series, from x = 8 on; the recurrence and the reflection lead there."""
    reflected = x < 0.5
    positive = jnp.where(reflected, 1 - x, x)
    z, near = _shifted(positive)
    product = near
    for step in range(1, _FAR - 1):
        product = product * (near + step)
    series = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_bernoulli(_TERMS), 1)]
    stirling = (z - 0.5) * jnp.log(z) - z + 0.5 * math.log(2 * math.pi) + _polynomial(1 / (z * z), series) / z
    result = stirling - jnp.where(positive < _FAR, jnp.log(product), 0.0)
    sine = jnp.abs(jnp.sin(math.pi * _from_pole(x)))
    result = jnp.where(reflected, math.log(math.pi) - jnp.log(sine) - result, result)
    return jnp.where(jnp.isinf(x), math.inf, result)


def digamma(x: jax.Array) -> jax.Array:
    """The derivative of lgamma, in the same way."""
    reflected = x < 0.5
    positive = jnp.where(reflected, 1 - x, x)
    z, near = _shifted(positive)
    inverses = 1 / near
    for step in range(1, _FAR - 1):
        inverses = inverses + 1 / (near + step)
    inverse_square = 1 / (z * z)
    series = [b / (2 * k) for k, b in enumerate(_bernoulli(_TERMS), 1)]
    far = jnp.log(z) - 0.5 / z - inverse_square * _polynomial(inverse_square, series)
    result = far - jnp.where(positive < _FAR, inverses, 0.0)
    pole = _from_pole(x)
    result = jnp.where(reflected, result - math.pi / jnp.tan(math.pi * pole), result)
    result = jnp.where(reflected & (pole == 0), math.nan, result)
    # NaN or -infinity, as the release has it; a constant when it comes to lowering.
    return jnp.where(x == 0, lax.digamma(np.zeros((), x.dtype)), result)


def zeta(x: jax.Array, q: jax.Array) -> jax.Array:
    """The sum of (q + k)^-x for k = 0, 1, ..., by Euler's and Maclaurin's formula after ten terms.

    As many as in JAX, and in its order: near q = -10 and below the formula is inexact, and JAX's numbers are its own.
    """
    total = sum(((q + k) ** -x for k in range(1, 10)), q**-x)
    a = q + 10
    last = a**-x
    first, *others = (b / math.factorial(2 * k) for k, b in enumerate(_bernoulli(12), 1))
    series = x * 0
    for k, coefficient in reversed(list(enumerate(others))):
        series = (series + coefficient) * (1 / (a * a)) * ((x + (2 * k + 2)) * (x + (2 * k + 1)))
    total = total + last * a / (x - 1) + last * (x / a * (series + first) + 0.5)
    at_pole = (q <= 0) & (jnp.floor(q) == q)
    even, whole = jnp.floor(x / 2) * 2 == x, jnp.floor(x) == x
    # A power of a negative number needs a whole exponent, and an even one if infinity is to have a sign.
    undefined = (x < 1) | ((q <= 0) & ~whole) | (at_pole & ~even)
    total = jnp.where(at_pole, math.inf, total)
    total = jnp.where(undefined | jnp.isnan(x) | jnp.isnan(q), math.nan, total)
    return jnp.where(x == 1, math.inf, total)


def polygamma(m: jax.Array, x: jax.Array) -> jax.Array:
    """The m-th derivative of digamma: (-1)^(m + 1) m! zeta(m + 1, x)."""
    odd = jnp.floor(m / 2) * 2 != m
    magnitude = jnp.exp(lgamma(m + 1)) * zeta(m + 1, x)
    result = jnp.where(m == 0, digamma(x), jnp.where(odd, magnitude, -magnitude))
    return jnp.where((m < 0) | (jnp.floor(m) != m), math.nan, result)


def _register(name: str, function: Callable[..., Any]) -> None:
    @plugin.lowering(name)
    @in_float32
    def _rule(ctx: LoweringContext, *operands: ir.Value) -> Any:
        return ctx.lower_fun(function, *operands)


for _function in (lgamma, digamma, zeta, polygamma):
    _register(_function.__name__, _function)

# JAX defines these by loops over simpler functions.
for _name in ("igamma", "igammac", "igamma_grad_a", "regularized_incomplete_beta"):
    _register(_name, special_function(_name))
