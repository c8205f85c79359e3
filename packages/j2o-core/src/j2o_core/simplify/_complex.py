"""Complex arithmetic on real arrays with a trailing axis of two: the real and the imaginary part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun

from .._compat import as_closed
from ._fourier import fft

Pair = tuple[Any, Any]


def parts(x: Any) -> Pair:
    """Real and imaginary part."""
    return x[..., 0], x[..., 1]


def pair(real: Any, imag: Any) -> Any:
    """The array that stands for real + i imag."""
    return jnp.stack([real, imag], -1)


def _is_complex(atom: Any) -> bool:
    return bool(jnp.issubdtype(atom.aval.dtype, np.complexfloating))


def _pairs(eqn: Any, arrays: Any) -> list[Pair]:
    """Each operand as its parts; a real one has no imaginary part."""
    return [
        parts(x) if _is_complex(atom) else (x, jnp.zeros_like(x)) for atom, x in zip(eqn.invars, arrays, strict=True)
    ]


def _lift(fn: Callable[..., Pair]) -> Callable[..., Any]:
    """A rule from a function of parts to parts. Scalars among the operands are as good as arrays in a jaxpr."""

    def rule(eqn: Any, *arrays: Any) -> Any:
        shape = eqn.outvars[0].aval.shape
        return pair(*(jnp.broadcast_to(part, shape) for part in fn(*_pairs(eqn, arrays))))

    return rule


# Products and quotients


def _mul(x: Pair, y: Pair) -> Pair:
    (a, b), (c, d) = x, y
    return a * c - b * d, a * d + b * c


def _square(x: Pair) -> Pair:
    return _mul(x, x)


def _div(x: Pair, y: Pair) -> Pair:
    """Smith's division: by the larger part of the divisor first, so that nothing overflows on the way."""
    (a, b), (c, d) = x, y
    wide = abs(c) >= abs(d)
    ratio = jnp.where(wide, d, c) / jnp.where(wide & (c == 0), 1, jnp.where(wide, c, d))
    scale = jnp.where(wide, c + d * ratio, c * ratio + d)
    real = jnp.where(wide, a + b * ratio, a * ratio + b) / scale
    imag = jnp.where(wide, b - a * ratio, b * ratio - a) / scale
    return real, imag


def _reciprocal(x: Pair) -> Pair:
    return _div((jnp.ones_like(x[0]), jnp.zeros_like(x[0])), x)


def _integer_pow(eqn: Any, x: Any) -> Any:
    power = eqn.params["y"]
    result = (jnp.ones_like(x[..., 0]), jnp.zeros_like(x[..., 0]))
    base, left = parts(x), abs(power)
    while left:
        result = _mul(result, base) if left & 1 else result
        base, left = _mul(base, base), left >> 1
    return pair(*(_reciprocal(result) if power < 0 else result))


# Polar form


def _abs(x: Pair) -> Any:
    """Without overflow on the way; infinite if either part is, as C has it and JAX from 0.12 on."""
    a, b = abs(x[0]), abs(x[1])
    large, small = lax.max(a, b), lax.min(a, b)
    ratio = small / jnp.where((large == 0) | jnp.isinf(large), 1, large)
    length = large * jnp.sqrt(1 + ratio * ratio)
    return jnp.where(jnp.isinf(a) | jnp.isinf(b), jnp.inf, length)


def _sign(x: Pair) -> Pair:
    length = _abs(x)
    safe = jnp.where(length == 0, 1, length)
    return x[0] / safe, x[1] / safe


def _log(x: Pair) -> Pair:
    return jnp.log(_abs(x)), jnp.arctan2(x[1], x[0])


def _log1p(x: Pair) -> Pair:
    """log|1+z| as log1p(a(a+2) + b^2) / 2 near zero, where 1 + a would lose a."""
    a, b = x
    near = (abs(a) < 0.5) & (abs(b) < 0.5)
    inside = jnp.where(near, a * (a + 2) + b * b, 0)
    return jnp.where(near, jnp.log1p(inside) / 2, jnp.log(_abs((1 + a, b)))), jnp.arctan2(b, 1 + a)


def _exp(x: Pair) -> Pair:
    size = jnp.exp(x[0])
    # exp(-inf) is 0 whatever the angle, and a real argument stays real.
    return size * jnp.cos(x[1]), jnp.where(x[1] == 0, x[1], size * jnp.sin(x[1]))


def _expm1(x: Pair) -> Pair:
    """exp(a) cos b - 1 = expm1(a) cos b - 2 sin^2(b/2)."""
    a, b = x
    half = jnp.sin(b / 2)
    return jnp.expm1(a) * jnp.cos(b) - 2 * half * half, jnp.exp(a) * jnp.sin(b)


def _sqrt(x: Pair) -> Pair:
    """The root with real part >= 0, from the half angle's formulas without cancellation."""
    a, b = x
    length = _abs(x)
    root = jnp.sqrt((length + abs(a)) / 2)
    other = abs(b) / jnp.where(root == 0, 1, 2 * root)
    real = jnp.where(a >= 0, root, other)
    imag = jnp.where(a >= 0, other, root)
    return real, jnp.where(b < 0, -imag, imag)


def _rsqrt(x: Pair) -> Pair:
    return _reciprocal(_sqrt(x))


def _cbrt(x: Pair) -> Pair:
    return _pow(x, (jnp.full_like(x[0], 1 / 3), jnp.zeros_like(x[0])))


def _pow(x: Pair, y: Pair) -> Pair:
    length, angle = _abs(x), jnp.arctan2(x[1], x[0])
    zero = length == 0
    size = jnp.log(jnp.where(zero, 1, length))
    real, imag = _exp((y[0] * size - y[1] * angle, y[1] * size + y[0] * angle))
    nothing = (y[0] == 0) & (y[1] == 0)
    return jnp.where(zero, jnp.where(nothing, 1, 0), real), jnp.where(zero, 0, imag)


# Circular and hyperbolic functions: one of each kind, the others by turning the plane


def _sinh(x: Pair) -> Pair:
    return jnp.sinh(x[0]) * jnp.cos(x[1]), jnp.cosh(x[0]) * jnp.sin(x[1])


def _cosh(x: Pair) -> Pair:
    return jnp.cosh(x[0]) * jnp.cos(x[1]), jnp.sinh(x[0]) * jnp.sin(x[1])


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
    """f(z) = -i g(i z): sin from sinh, tan from tanh, atan from atanh."""

    def turned(x: Pair) -> Pair:
        real, imag = fn((-x[1], x[0]))
        return imag, -real

    return turned


def _cos(x: Pair) -> Pair:
    return _cosh((-x[1], x[0]))


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
    real, imag = _tanh((x[0] / 2, x[1] / 2))
    return (1 + real) / 2, imag / 2


# Comparisons: equal in both parts; order by the real part, then by the imaginary one


def _equal(eqn: Any, *arrays: Any) -> Any:
    (a, b), (c, d) = _pairs(eqn, arrays)
    return (a == c) & (b == d)


def _not_equal(eqn: Any, *arrays: Any) -> Any:
    (a, b), (c, d) = _pairs(eqn, arrays)
    return (a != c) | (b != d)


def _larger(x: Pair, y: Pair) -> Any:
    return jnp.where(x[0] == y[0], x[1] > y[1], x[0] > y[0])


def _max(x: Pair, y: Pair) -> Pair:
    first = _larger(x, y)
    return jnp.where(first, x[0], y[0]), jnp.where(first, x[1], y[1])


def _min(x: Pair, y: Pair) -> Pair:
    first = _larger(y, x)
    return jnp.where(first, x[0], y[0]), jnp.where(first, x[1], y[1])


# Conversions


def _convert(eqn: Any, x: Any, *_: Any) -> Any:
    new = eqn.params["new_dtype"]
    from_complex, to_complex = _is_complex(eqn.invars[0]), _is_complex(eqn.outvars[0])
    if to_complex:
        x = lax.convert_element_type(x, np.finfo(new).dtype)
        return x if from_complex else pair(x, jnp.zeros_like(x))
    if np.dtype(new) == np.bool_:
        return (x != 0).any(-1)
    return lax.convert_element_type(x[..., 0], new)


def _conj(eqn: Any, x: Any) -> Any:
    ((real, imag),) = _pairs(eqn, (x,))
    return pair(real, -imag)


# Sums of products


def _bilinear(eqn: Any, *arrays: Any) -> Any:
    """Anything linear in both operands: products of the parts."""
    (a, b), (c, d) = _pairs(eqn, arrays)
    params = dict(eqn.params)
    if params.get("preferred_element_type") is not None:
        wide = np.dtype(params["preferred_element_type"])
        params["preferred_element_type"] = np.finfo(wide).dtype if wide.kind == "c" else wide

    def product(left: Any, right: Any) -> Any:
        return eqn.primitive.bind(left, right, **params)

    lhs, rhs = map(_is_complex, eqn.invars)
    if not rhs:
        return pair(product(a, c), product(b, c))
    if not lhs:
        return pair(product(a, c), product(a, d))
    return pair(product(a, c) - product(b, d), product(a, d) + product(b, c))


def _fold(combine: Callable[[Pair, Pair], Pair]) -> Callable[..., Any]:
    """A reduction over axes by halves."""

    def rule(eqn: Any, x: Any) -> Any:
        axes = eqn.params["axes"]
        real, imag = parts(x)
        rest = [axis for axis in range(real.ndim) if axis not in axes]
        order = (*rest, *axes)
        count = int(np.prod([real.shape[axis] for axis in axes]))
        kept = [real.shape[axis] for axis in rest]
        z = _flat(real, order, kept, count), _flat(imag, order, kept, count)
        while count > 1:
            half = count // 2
            both = combine(*_halves(z, half))
            tail = tuple(part[..., 2 * half :] for part in z)
            z = (_joined(both[0], tail[0]), _joined(both[1], tail[1])) if count % 2 else both
            count -= half
        return pair(z[0][..., 0], z[1][..., 0])

    return rule


def _flat(x: Any, order: Any, kept: Any, count: int) -> Any:
    return lax.reshape(lax.transpose(x, order), (*kept, count))


def _joined(x: Any, y: Any) -> Any:
    return jnp.concatenate([x, y], -1)


def _halves(z: Pair, half: int) -> tuple[Pair, Pair]:
    left = (z[0][..., :half], z[1][..., :half])
    return left, (z[0][..., half : 2 * half], z[1][..., half : 2 * half])


def _reduce_prod(eqn: Any, x: Any) -> Any:
    if any(x.shape[axis] == 0 for axis in eqn.params["axes"]):
        shape = eqn.outvars[0].aval.shape
        return pair(jnp.ones(shape, x.dtype), jnp.zeros(shape, x.dtype))
    return _fold(_mul)(eqn, x)


def _cumprod(eqn: Any, x: Any) -> Any:
    return pair(*lax.associative_scan(_mul, parts(x), axis=eqn.params["axis"], reverse=eqn.params["reverse"]))


def _sort(eqn: Any, *arrays: Any) -> Any:
    """Complex keys are sorted by their real part, then by the imaginary one."""
    params = dict(eqn.params)
    flat: list[Any] = []
    keys = 0
    for index, (atom, x) in enumerate(zip(eqn.invars, arrays, strict=True)):
        columns = parts(x) if _is_complex(atom) else (x,)
        flat += columns
        keys += len(columns) if index < params["num_keys"] else 0
    params["num_keys"] = keys
    results = iter(eqn.primitive.bind(*flat, **params))
    return [pair(next(results), next(results)) if _is_complex(atom) else next(results) for atom in eqn.invars]


def _reducing(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction by any operation: the parts are operands of their own, which the operation puts together."""

    def rule(eqn: Any, *arrays: Any) -> Any:
        count = len(arrays) // 2
        kinds = [_is_complex(atom) for atom in eqn.invars[:count]]
        operation = jaxpr_as_fun(as_closed(eqn.params["jaxpr"]))

        def split(values: Any) -> list[Any]:
            return [
                part for value, kind in zip(values, kinds, strict=True) for part in (parts(value) if kind else (value,))
            ]

        def joined(values: Any, join: Callable[[Any, Any], Any]) -> list[Any]:
            rest = iter(values)
            return [join(next(rest), next(rest)) if kind else next(rest) for kind in kinds]

        def combine(left: Any, right: Any) -> Any:
            results = operation(*joined(left, lax.complex), *joined(right, lax.complex))
            return tuple(
                part
                for value, kind in zip(results, kinds, strict=True)
                for part in ((lax.real(value), lax.imag(value)) if kind else (value,))
            )

        results = reduce(eqn.params, tuple(split(arrays[:count])), tuple(split(arrays[count:])), combine)
        return joined(results, pair)

    return rule


def _window_params(params: Any) -> dict[str, Any]:
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    return {name: params[name] for name in names}


def _extreme_window(combine: Callable[[Pair, Pair], Pair], first: float) -> Callable[..., Any]:
    def rule(eqn: Any, x: Any) -> Any:
        inits = (np.array(first, x.dtype), np.array(0, x.dtype))
        return pair(*lax.reduce_window(parts(x), inits, combine, **_window_params(eqn.params)))

    return rule


COMPLEX_RULES: dict[str, Callable[..., Any]] = {
    "real": lambda eqn, x: x[..., 0],
    "imag": lambda eqn, x: x[..., 1],
    "complex": _lift(lambda x, y: (x[0], y[0])),
    "conj": _conj,
    "abs": lambda eqn, x: _abs(parts(x)),
    "mul": _lift(_mul),
    "div": _lift(_div),
    "square": _lift(_square),
    "integer_pow": _integer_pow,
    "pow": _lift(_pow),
    "sign": _lift(_sign),
    "exp": _lift(_exp),
    "exp2": _lift(lambda x: _exp((x[0] * np.log(2), x[1] * np.log(2)))),
    "expm1": _lift(_expm1),
    "log": _lift(_log),
    "log1p": _lift(_log1p),
    "sqrt": _lift(_sqrt),
    "rsqrt": _lift(_rsqrt),
    "cbrt": _lift(_cbrt),
    "logistic": _lift(_logistic),
    "sinh": _lift(_sinh),
    "cosh": _lift(_cosh),
    "tanh": _lift(_tanh),
    "asinh": _lift(_asinh),
    "acosh": _lift(_acosh),
    "atanh": _lift(_atanh),
    "sin": _lift(_turned(_sinh)),
    "cos": _lift(_cos),
    "tan": _lift(_turned(_tanh)),
    "asin": _lift(_asin),
    "acos": _lift(_acos),
    "atan": _lift(_turned(_atanh)),
    "eq": _equal,
    "ne": _not_equal,
    "max": _lift(_max),
    "min": _lift(_min),
    "convert_element_type": _convert,
    "dot_general": _bilinear,
    "conv_general_dilated": _bilinear,
    "reduce_prod": _reduce_prod,
    "reduce_max": _fold(_max),
    "reduce_min": _fold(_min),
    "cumprod": _cumprod,
    "reduce": _reducing(lambda params, xs, inits, fn: lax.reduce(xs, inits, fn, params["dimensions"])),
    "reduce_window": _reducing(
        lambda params, xs, inits, fn: lax.reduce_window(xs, inits, fn, **_window_params(params))
    ),
    "reduce_window_max": _extreme_window(_max, -np.inf),
    "reduce_window_min": _extreme_window(_min, np.inf),
    "sort": _sort,
    "fft": fft,
}
