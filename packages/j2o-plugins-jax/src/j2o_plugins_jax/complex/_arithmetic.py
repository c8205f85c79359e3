"""Complex arithmetic on real arrays with a trailing axis of two: the real and the imaginary part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from j2o_core import UnsupportedError

Pair = tuple[Any, Any]

# Numbers from which a choice between two graphs is faster than to do more for all of them.
_MANY = 4096


def parts(x: Any) -> Pair:
    """Real and imaginary part."""
    return x[..., 0], x[..., 1]


def pair(real: Any, imag: Any) -> Any:
    """The array that encodes real + i imag."""
    return jnp.stack([real, imag], -1)


def is_complex(atom: Any) -> bool:
    """Whether a variable of the jaxpr is complex."""
    return bool(jnp.issubdtype(atom.aval.dtype, np.complexfloating))


def pairs(eqn: Any, arrays: Any) -> list[Pair]:
    """Each operand as its parts; a real one has no imaginary part."""
    return [
        parts(x) if is_complex(atom) else (x, jnp.zeros_like(x)) for atom, x in zip(eqn.invars, arrays, strict=True)
    ]


def lift(fn: Callable[..., Pair]) -> Callable[..., Any]:
    """A rule from a function of parts to parts. Scalars among the operands are as good as arrays in a jaxpr."""

    def rule(eqn: Any, *arrays: Any) -> Any:
        shape = eqn.outvars[0].aval.shape
        return pair(*(jnp.broadcast_to(part, shape) for part in fn(*pairs(eqn, arrays))))

    return rule


# Products and quotients


def times(x: Pair, y: Pair) -> Pair:
    """The product."""
    (a, b), (c, d) = x, y
    return a * c - b * d, a * d + b * c


def over(x: Pair, y: Pair) -> Pair:
    """The quotient after Smith: by the larger part of the divisor first, so that nothing overflows on the way."""
    (a, b), (c, d) = x, y
    wide = abs(c) >= abs(d)
    ratio = jnp.where(wide, d, c) / jnp.where(wide & (c == 0), 1, jnp.where(wide, c, d))
    scale = jnp.where(wide, c + d * ratio, c * ratio + d)
    real = jnp.where(wide, a + b * ratio, a * ratio + b) / scale
    imag = jnp.where(wide, b - a * ratio, b * ratio - a) / scale
    return real, imag


def reciprocal(x: Pair) -> Pair:
    """One over a number."""
    return over((jnp.ones_like(x[0]), jnp.zeros_like(x[0])), x)


def _integer_pow(eqn: Any, x: Any) -> Any:
    power = eqn.params["y"]
    # No product with 1 + 0i: it makes NaN of an infinite part.
    result: Pair | None = None
    base, left = parts(x), abs(power)
    while left:
        if left & 1:
            result = base if result is None else times(result, base)
        base, left = times(base, base), left >> 1
    if result is None:
        result = (jnp.ones_like(x[..., 0]), jnp.zeros_like(x[..., 0]))
    return pair(*(reciprocal(result) if power < 0 else result))


def magnitude(x: Pair) -> Any:
    """Without overflow on the way; infinite if either part is, as C has it and JAX from 0.12 on."""
    a, b = abs(x[0]), abs(x[1])
    large, small = lax.max(a, b), lax.min(a, b)
    ratio = small / (large + (large == 0))  # a sum takes a third of the time of a choice
    length = large * jnp.sqrt(1 + ratio * ratio)
    return jnp.where((a == jnp.inf) | (b == jnp.inf), jnp.inf, length)


def _absolute(x: Pair) -> Any:
    """The magnitude; of many numbers as the root of a sum of squares, if all squares are in range."""
    squares = x[0] * x[0] + x[1] * x[1]
    if math.prod(size for size in squares.shape if isinstance(size, int)) < _MANY:
        return magnitude(x)
    # NaN is in both sums. A reciprocal, for a minimum would look for NaN once more.
    info = jnp.finfo(squares.dtype)
    in_range = (jnp.sum(squares) < jnp.inf) & (jnp.sum(1 / squares) < info.eps / info.tiny)
    return lax.cond(in_range, lambda: jnp.sqrt(squares), lambda: magnitude(x))


# Comparisons: equal in both parts; order by the real part, then by the imaginary one


def _equal(eqn: Any, *arrays: Any) -> Any:
    (a, b), (c, d) = pairs(eqn, arrays)
    return (a == c) & (b == d)


def _not_equal(eqn: Any, *arrays: Any) -> Any:
    (a, b), (c, d) = pairs(eqn, arrays)
    return (a != c) | (b != d)


def _is_larger(x: Pair, y: Pair) -> Any:
    return jnp.where(x[0] == y[0], x[1] > y[1], x[0] > y[0])


def larger_of(x: Pair, y: Pair) -> Pair:
    """The maximum as JAX has it: the second one if they do not compare."""
    first = _is_larger(x, y)
    return jnp.where(first, x[0], y[0]), jnp.where(first, x[1], y[1])


def smaller_of(x: Pair, y: Pair) -> Pair:
    """The minimum as JAX has it: the second one if they do not compare."""
    first = _is_larger(y, x)
    return jnp.where(first, x[0], y[0]), jnp.where(first, x[1], y[1])


# Conversions


def _convert(eqn: Any, x: Any, *_: Any) -> Any:
    new = eqn.params["new_dtype"]
    from_complex, to_complex = is_complex(eqn.invars[0]), is_complex(eqn.outvars[0])
    if to_complex:
        x = lax.convert_element_type(x, np.finfo(new).dtype)
        return x if from_complex else pair(x, jnp.zeros_like(x))
    if np.dtype(new) == np.bool_:
        return (x != 0).any(-1)
    return lax.convert_element_type(x[..., 0], new)


def _conj(eqn: Any, x: Any) -> Any:
    ((real, imag),) = pairs(eqn, (x,))
    return pair(real, -imag)


def _bitcast(eqn: Any, x: Any) -> Any:
    if eqn.params["new_dtype"] != eqn.invars[0].aval.dtype:
        raise UnsupportedError(
            "lax.bitcast_convert_type of complex numbers has no ONNX form: they travel as pairs of real numbers. "
            "Convert x.real and x.imag by themselves."
        )
    return x


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "real": lambda eqn, x: x[..., 0],
    "imag": lambda eqn, x: x[..., 1],
    "complex": lift(lambda x, y: (x[0], y[0])),
    "conj": _conj,
    "abs": lambda eqn, x: _absolute(parts(x)),
    "mul": lift(times),
    "div": lift(over),
    "square": lift(lambda x: times(x, x)),
    "integer_pow": _integer_pow,
    "eq": _equal,
    "ne": _not_equal,
    "max": lift(larger_of),
    "min": lift(smaller_of),
    "convert_element_type": _convert,
    "bitcast_convert_type": _bitcast,
}
