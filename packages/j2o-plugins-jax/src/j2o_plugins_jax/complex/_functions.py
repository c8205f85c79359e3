"""Powers, exponentials, circular and hyperbolic functions of complex numbers, on their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ._arithmetic import Pair, lift, magnitude, over, reciprocal, times

# Polar form


def _sign(x: Pair) -> Pair:
    length = magnitude(x)
    safe = jnp.where(length == 0, 1, length)
    return x[0] / safe, x[1] / safe


def _log(x: Pair) -> Pair:
    return jnp.log(magnitude(x)), jnp.arctan2(x[1], x[0])


def _log1p(x: Pair) -> Pair:
    """log|1+z| as log1p(a(a+2) + b^2) / 2 near zero, where 1 + a would lose a."""
    a, b = x
    near = (abs(a) < 0.5) & (abs(b) < 0.5)
    inside = jnp.where(near, a * (a + 2) + b * b, 0)
    return jnp.where(near, jnp.log1p(inside) / 2, jnp.log(magnitude((1 + a, b)))), jnp.arctan2(b, 1 + a)


def _exp(x: Pair) -> Pair:
    # In two factors: the product with a cosine or sine may be finite where exp(a) is not.
    size = jnp.exp(x[0] / 2)
    # exp(-inf) is 0 whatever the angle, and a real argument stays real.
    return size * jnp.cos(x[1]) * size, jnp.where(x[1] == 0, x[1], size * jnp.sin(x[1]) * size)


def _expm1(x: Pair) -> Pair:
    """exp(a) cos b - 1 = expm1(a) cos b - 2 sin^2(b/2)."""
    a, b = x
    half = jnp.sin(b / 2)
    return jnp.expm1(a) * jnp.cos(b) - 2 * half * half, jnp.where(b == 0, b, jnp.exp(a) * jnp.sin(b))


def _sqrt(x: Pair) -> Pair:
    """The root with real part >= 0, from the half angle's formulas without cancellation."""
    a, b = x
    length = magnitude(x)
    root = jnp.sqrt((length + abs(a)) / 2)
    other = abs(b) / jnp.where(root == 0, 1, 2 * root)
    real = jnp.where(a >= 0, root, other)
    imag = jnp.where(a >= 0, other, root)
    return real, jnp.where(b < 0, -imag, imag)


def _cbrt(x: Pair) -> Pair:
    return _pow(x, (jnp.full_like(x[0], 1 / 3), jnp.zeros_like(x[0])))


def _atan2(y: Pair, x: Pair) -> Pair:
    """-i log((x + iy) / sqrt(x^2 + y^2)), as XLA has it."""
    (a, b), (c, d) = x, y
    square = times(x, x), times(y, y)
    length = _sqrt((square[0][0] + square[1][0], square[0][1] + square[1][1]))
    real, imag = _log(over((a - d, b + c), length))
    return imag, -real


def _pow(x: Pair, y: Pair) -> Pair:
    length, angle = magnitude(x), jnp.arctan2(x[1], x[0])
    zero = length == 0
    size = jnp.log(jnp.where(zero, 1, length))
    real, imag = _exp((y[0] * size - y[1] * angle, y[1] * size + y[0] * angle))
    # Of zero, XLA has 0 for a positive real power, 1 for 0, and NaN for all others.
    of_zero = jnp.where((y[1] == 0) & (y[0] >= 0), y[0] == 0, jnp.nan)
    return jnp.where(zero, of_zero, real), jnp.where(zero, 0 * of_zero, imag)


# Circular and hyperbolic functions. XLA's sinh and cosh are finite wherever their products are, its sin and cos are not


def _sinh(x: Pair) -> Pair:
    (sinh, cosh), (sin, cos), size = _of_parts(x)
    return sinh * cos * size * size, jnp.where(x[1] == 0, x[1], cosh * sin * size * size)


def _cosh(x: Pair) -> Pair:
    (sinh, cosh), (sin, cos), size = _of_parts(x)
    # A real or an imaginary argument stays real.
    return cosh * cos * size * size, jnp.where(x[1] == 0, lax.sign(x[0]) * x[1], sinh * sin * size * size)


def _of_parts(x: Pair) -> tuple[Pair, Pair, Any]:
    """The functions sinh and cosh of a, sin and cos of b, and a factor to multiply twice by, 1 where |a| is small.

    Their products may be finite where they are not. From 40 on both are exp(a) / 2.
    """
    a, b = x
    near = jnp.clip(a, -40, 40)
    return (jnp.sinh(near), jnp.cosh(near)), (jnp.sin(b), jnp.cos(b)), jnp.exp(abs(a - near) / 2)


def _tanh(x: Pair) -> Pair:
    """(tanh a + i tan b) / (1 + i tanh a tan b), multiplied out with e = exp(-2|a|) so that nothing overflows."""
    a, b = x
    e = jnp.exp(-2 * abs(a))
    scale = 1 + e * e + 2 * e * jnp.cos(2 * b)
    near = abs(a) < 1
    sinh_2a = jnp.sinh(jnp.where(near, 2 * a, 0))
    cosh_2a = jnp.cosh(jnp.where(near, 2 * a, 0))
    small = sinh_2a / (cosh_2a + jnp.cos(2 * b))
    return jnp.where(near, small, lax.sign(a) * (1 - e * e) / scale), 2 * e * jnp.sin(2 * b) / scale


def _turned(fn: Callable[[Pair], Pair]) -> Callable[[Pair], Pair]:
    """f(z) = -i g(i z): tan from tanh, atan from atanh."""

    def turned(x: Pair) -> Pair:
        real, imag = fn((-x[1], x[0]))
        return imag, -real

    return turned


def _sin(x: Pair) -> Pair:
    a, b = x
    # An imaginary argument stays imaginary where cosh is infinite.
    return jnp.where(a == 0, a, jnp.sin(a) * jnp.cosh(b)), jnp.cos(a) * jnp.sinh(b)


def _cos(x: Pair) -> Pair:
    a, b = x
    return jnp.cos(a) * jnp.cosh(b), jnp.where(a == 0, -a * lax.sign(b), -jnp.sin(a) * jnp.sinh(b))


# Inverses after Kahan (Branch cuts for complex elementary functions, 1987), with a zero on a cut counted as positive.


def _arcsinh_parts(a: Any, b: Any) -> Pair:
    """Size of the real part, and the imaginary part, of asinh(a + ib)."""
    s1, s2 = _sqrt((1 + b, -a)), _sqrt((1 - b, a))
    return abs(jnp.arcsinh(s1[0] * s2[1] - s2[0] * s1[1])), jnp.arctan2(b, s1[0] * s2[0] - s1[1] * s2[1])


def _asinh(x: Pair) -> Pair:
    size, angle = _arcsinh_parts(*x)
    return jnp.where(x[0] < 0, -size, size), angle


def _asin(x: Pair) -> Pair:
    size, angle = _arcsinh_parts(-x[1], x[0])
    return angle, jnp.where(x[1] < 0, -size, size)


def _acos(x: Pair) -> Pair:
    """Real part 2 atan(Re sqrt(1-z) / Re sqrt(1+z)), imaginary part that of -asin(z)."""
    a, b = x
    s1, s2 = _sqrt((1 - a, -b)), _sqrt((1 + a, b))
    return 2 * jnp.arctan2(s1[0], s2[0]), -_asin(x)[1]


def _acosh(x: Pair) -> Pair:
    """Real part asinh(Re(conj(sqrt(z-1)) sqrt(z+1))), imaginary 2 atan(Im sqrt(z-1) / Re sqrt(z+1))."""
    a, b = x
    s1, s2 = _sqrt((a - 1, b)), _sqrt((a + 1, b))
    return jnp.arcsinh(s1[0] * s2[0] + s1[1] * s2[1]), 2 * jnp.arctan2(s1[1], s2[0])


def _atanh(x: Pair) -> Pair:
    """(log(1+z) - log(1-z)) / 2."""
    a, b = x
    real = jnp.log1p(4 * a / jnp.where((a == 1) & (b == 0), 0, (1 - a) ** 2 + b * b)) / 4
    imag = jnp.arctan2(2 * b, (1 - a) * (1 + a) - b * b) / 2
    return real, imag


def _logistic(x: Pair) -> Pair:
    """1 / (1 + exp(-z)) with e = exp(-|a|), multiplied out by way of b/2 so that nothing overflows or cancels."""
    a, b = x
    e, rest = jnp.exp(-abs(a)), -jnp.expm1(-abs(a))
    sin, cos = jnp.sin(b / 2), jnp.cos(b / 2)
    square = 2 * cos * cos
    scale = rest * rest + 2 * e * square
    return jnp.where(a >= 0, rest + e * square, e * (square - rest)) / scale, 2 * e * sin * cos / scale


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "pow": lift(_pow),
    "atan2": lift(_atan2),
    "sign": lift(_sign),
    "exp": lift(_exp),
    "exp2": lift(lambda x: _exp((x[0] * float(np.log(2)), x[1] * float(np.log(2))))),
    "expm1": lift(_expm1),
    "log": lift(_log),
    "log1p": lift(_log1p),
    "log2": lift(lambda x: tuple(part / float(np.log(2)) for part in _log(x))),
    "one_minus_square": lift(lambda x: times((1 + x[0], x[1]), (1 - x[0], -x[1]))),
    "sqrt": lift(_sqrt),
    "rsqrt": lift(lambda x: reciprocal(_sqrt(x))),
    "cbrt": lift(_cbrt),
    "logistic": lift(_logistic),
    "sinh": lift(_sinh),
    "cosh": lift(_cosh),
    "tanh": lift(_tanh),
    "asinh": lift(_asinh),
    "acosh": lift(_acosh),
    "atanh": lift(_atanh),
    "sin": lift(_sin),
    "cos": lift(_cos),
    "tan": lift(_turned(_tanh)),
    "asin": lift(_asin),
    "acos": lift(_acos),
    "atan": lift(_turned(_atanh)),
}
