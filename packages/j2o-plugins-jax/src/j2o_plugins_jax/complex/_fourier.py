"""Fourier transforms as matrix products with tables of cosines and sines, in steps where a length is long.

A complex vector with its parts side by side, (n, 2) read as 2n numbers, times a real (2n, 2m) matrix is one product:
exact to rounding for every length, and faster than ONNX Runtime's DFT, which is inexact but for powers of 2. A long
prime length is a convolution, done by transforms of a power of two.
The tables of a symbolic length are computed in the graph: as many numbers as the square of the length.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from j2o_core import UnsupportedError
from j2o_core._compat import is_symbolic
from j2o_core.trace._source import user_line

_ODD_OR_EVEN = """The inverse of a real Fourier transform at {line} has {length} elements, which may be odd or even.
JAX takes it for odd there, as where it differentiates rfft, and an even length would be wrong.
Give a size such as "2*K", of which the parity is known."""
# Longer transforms are done in shorter ones, if the length has factors.
_ONE_STEP = 512
# Lengths between which two products with small tables, if there are such, are faster than one with a large table.
_TWO_STEPS = (96, 1024)
# Columns behind an axis from which a product from the left is faster than moving the axis to the end.
_COLUMNS = 8


def fft(eqn: Any, x: Any) -> Any:
    """The primitive `fft`, on real arrays that encode complex ones, or on what was made complex for it alone."""
    kind, lengths = eqn.params["fft_type"].name, eqn.params["fft_lengths"]
    count = len(lengths)
    if 0 in [length for length in lengths if not is_symbolic(length)]:
        aval = eqn.outvars[0].aval
        return jnp.zeros((*aval.shape, *[2] * jnp.iscomplexobj(aval)), x.dtype)
    if kind == "RFFT":
        z = _from_real(x, lengths[-1], -1, lengths[-1] // 2 + 1)
        axes = range(z.ndim - 1 - count, z.ndim - 2)
        return _along(z, axes, lengths[:-1], -1)
    first = len(eqn.invars[0].aval.shape) - count
    if kind == "IRFFT":
        if is_symbolic(lengths[-1] % 2):
            raise UnsupportedError(_ODD_OR_EVEN.format(line=user_line(eqn), length=lengths[-1]))
        if x.ndim == first + count:
            x = jnp.stack([x, jnp.zeros_like(x)], -1)
        z = _along(x, range(first, x.ndim - 2), lengths[:-1], 1)
        return _to_real(z, lengths[-1])
    return _along(x, range(first, first + count), lengths, -1 if kind == "FFT" else 1, real=x.ndim == first + count)


def _along(z: Any, axes: Any, lengths: Any, sign: int, *, real: bool = False) -> Any:
    for axis, length in zip(axes, lengths, strict=True):
        columns = math.prod(z.shape[axis + 1 : None if real else -1])
        factors = None if is_symbolic(columns) or columns < _COLUMNS else _two_factors(length)
        if factors is not None:
            z = _of_columns(jnp.expand_dims(z, axis) if real else jnp.moveaxis(z, -1, axis), axis, factors, sign)
        elif real:
            z = jnp.moveaxis(_from_real(jnp.moveaxis(z, axis, -1), length, sign, length), -2, axis)
        else:
            z = jnp.moveaxis(_transform(jnp.moveaxis(z, axis, -2), length, sign), -2, axis)
        real = False
        if sign > 0:
            z = z * _inverse(length, z.dtype)
    return z


def _inverse(n: Any, dtype: Any) -> Any:
    return 1 / jnp.asarray(n).astype(dtype) if is_symbolic(n) else np.array(1 / n, dtype)


def _angles(n: Any, m: Any, sign: int) -> Any:
    """Angles of exp(sign 2 pi i j k / n) for j < n, k < m; the product is reduced first, so that no digit is lost."""
    if is_symbolic(n):
        turns = jnp.outer(jnp.arange(n), jnp.arange(m)) % n
        turns = jnp.where(2 * turns > n, turns - n, turns)  # small angles have more digits
        return sign * 2 * np.pi / jnp.asarray(n) * turns
    turns = np.outer(np.arange(n), np.arange(m)) % n
    return sign * 2 * np.pi / n * turns


def _cos_sin(angles: Any) -> tuple[Any, Any]:
    """Cosines and sines of angles, those of constants exactly 0 at quarter turns, from which other angles are far."""
    if not isinstance(angles, np.ndarray):
        return jnp.cos(angles), jnp.sin(angles)
    cos, sin = (np.where(np.abs(value) < 1e-12, 0, value) for value in (np.cos(angles), np.sin(angles)))
    return cos, sin


def _transform(z: Any, n: Any, sign: int) -> Any:
    """The transform along the last axis but one, without a factor."""
    factors = _two_factors(n)
    if factors is not None:
        return _of_rows(jnp.moveaxis(z, -1, -2), factors, sign, n)
    step = _factor(n)
    if step == 1 and _is_long(n):
        return _chirp(z, n, sign)
    if step == 1:
        angles = _angles(n, n, sign)
        xp = _library(n)
        cos, sin = _cos_sin(angles)
        # (a + ib)(cos + i sin): the row of a gives (cos, sin), the row of b (-sin, cos).
        table = xp.stack([xp.stack([cos, sin], -1), xp.stack([-sin, cos], -1)], 1).reshape(2 * n, 2 * n)
        flat = jnp.reshape(z, (*z.shape[:-2], 2 * n))
        return jnp.reshape(jnp.matmul(flat, table.astype(z.dtype)), z.shape)
    rest = n // step
    lead = z.shape[:-2]
    # j = j1 rest + j2 and k = k1 + step k2: transforms over j1, a turn by j2 k1 / n, transforms over j2.
    z = jnp.swapaxes(jnp.reshape(z, (*lead, step, rest, 2)), -3, -2)
    z = _transform(z, step, sign)
    cos, sin = _cos_sin(_angles(n, step, sign)[:rest])
    z = _turned(z, cos + 1j * sin)
    z = _transform(jnp.swapaxes(z, -3, -2), rest, sign)
    return jnp.reshape(jnp.swapaxes(z, -3, -2), (*lead, n, 2))


def _two_factors(n: Any) -> tuple[int, int] | None:
    """Two factors of a length, the larger one first, by which a transform in two products pays; None for others."""
    if is_symbolic(n) or not _TWO_STEPS[0] <= n <= _TWO_STEPS[1]:
        return None
    small = next(f for f in range(math.isqrt(n), 0, -1) if n % f == 0)
    large = n // small
    return (large, small) if 3 * (small + large) <= n else None


def _of_rows(z: Any, factors: tuple[int, int], sign: int, count: int) -> Any:
    """The first `count` elements of the transform along the last axis: (..., parts, n) to (..., count, 2).

    Of real input there is one part, else the real and the imaginary one. With j = j1 n2 + j2 and k = k1 + n1 k2 it is
    a product over j1, from the left, and for each k1 one over j2, with the turn by j2 k1 / n in its table.
    """
    (large, small), parts, lead = factors, z.shape[-2], z.shape[:-2]
    taken = -(-count // large)
    first = _first_table(large, parts, sign).reshape(2 * large, parts * large).astype(z.dtype)
    second = _second_table(factors, taken, sign).transpose(0, 3, 4, 2, 1).astype(z.dtype)
    z = jnp.matmul(first, jnp.reshape(z, (math.prod(lead), parts * large, small)))
    z = jnp.swapaxes(jnp.reshape(z, (-1, large, 2 * small)), 0, 1)
    z = jnp.matmul(z, second.reshape(large, 2 * small, 2 * taken))
    z = jnp.reshape(jnp.moveaxis(z, 0, -1), (*lead, 2, taken * large))
    return jnp.stack([z[..., 0, :count], z[..., 1, :count]], -1)


def _of_real_rows(x: Any, factors: tuple[int, int], sign: int) -> Any:
    """As `_of_rows` for real input, by half of the first product: Y[n1 - k1] is the conjugate of Y[k1].

    (..., n) to (..., n / 2 + 1, 2). The real Y[0] and Y[n1 / 2] are the parts of one row. Each row gives the elements
    of k1 and of n1 - k1. The last element is where the imaginary part of the first one, which is 0, would be.
    """
    (large, small), lead = factors, x.shape[:-1]
    half, taken = large // 2, small // 2
    turns = _first_table(large, 1, sign)[:, :, 0]
    first = turns[:half].copy()
    first[0, 1] = turns[half, 0]
    table = _second_table(factors, taken, sign)
    own, others = table[:half].copy(), table[-np.arange(half)] * np.array([1, -1])[:, None]
    own[0, :, :, 1] = others[0, :, :, 0] = 0
    others[0, :, :, 1] = table[half, :, :, 0]
    own[0, 0, 1, 0] = (-1) ** np.arange(small)
    second = np.stack([own, others]).transpose(0, 1, 4, 5, 3, 2).reshape(2, half, 2 * small, 2 * taken)
    z = jnp.matmul(first.reshape(large, large).astype(x.dtype), jnp.reshape(x, (math.prod(lead), large, small)))
    z = jnp.swapaxes(jnp.reshape(z, (-1, half, 2 * small)), 0, 1)
    own, others = (jnp.matmul(z, table.astype(x.dtype)) for table in second)
    z = jnp.moveaxis(jnp.concatenate([own, others[-np.arange(half)]]), 0, -1)
    z = jnp.reshape(z, (*lead, 2 * taken * large))
    last = taken * large + 1
    return jnp.stack([z[..., :last], jnp.pad(z[..., last:], [(0, 0)] * len(lead) + [(1, 1)])], -1)


def _of_columns(z: Any, axis: int, factors: tuple[int, int], sign: int) -> Any:
    """The transform along the axis behind `axis`, which has the parts: (..., parts, n, ...) to (..., n, ..., 2).

    As in `_of_rows`, but both products are from the left and nothing smaller than what lies behind the axis is moved.
    """
    (large, small), parts, n = factors, z.shape[axis], z.shape[axis + 1]
    lead, behind = z.shape[:axis], z.shape[axis + 2 :]
    columns = math.prod(behind)
    first = _first_table(large, parts, sign).reshape(2 * large, parts * large).astype(z.dtype)
    second = _second_table(factors, small, sign).reshape(large, 2 * small, 2 * small).astype(z.dtype)
    z = jnp.matmul(first, jnp.reshape(z, (*lead, parts * large, small * columns)))
    z = jnp.matmul(second, jnp.reshape(z, (*lead, large, 2 * small, columns)))
    z = jnp.swapaxes(jnp.reshape(z, (*lead, large, small, 2 * columns)), axis, axis + 1)
    return jnp.moveaxis(jnp.reshape(z, (*lead, n, 2, *behind)), axis + 1, -1)


def _first_table(large: int, parts: int, sign: int) -> Any:
    """Of a transform of this length, by (k1, part of the result, part of the input, j1)."""
    return np.moveaxis(_multiplied(_angles(large, large, sign).T), (0, 1), (1, 2))[:, :, :parts]


def _second_table(factors: tuple[int, int], taken: int, sign: int) -> Any:
    """For each k1 of a transform and a turn, by (k1, k2, part of the result, part of the input, j2)."""
    large, small = factors
    n = large * small
    k = np.arange(large)[:, None, None] + large * np.arange(taken)[:, None]
    angles = sign * 2 * np.pi / n * (k * np.arange(small) % n)
    return np.moveaxis(_multiplied(angles), (0, 1), (2, 3))


def _multiplied(angles: Any) -> Any:
    """Matrices that multiply a complex number by a turn: (part of the result, part of the number, ...)."""
    cos, sin = _cos_sin(angles)
    return np.stack([np.stack([cos, -sin]), np.stack([sin, cos])])


def _chirp(z: Any, n: int, sign: int) -> Any:
    """A transform of prime length as a convolution, by two of a power of two (Bluestein 1970).

    With `c_j = exp(sign pi i j^2 / n)`, `exp(sign 2 pi i j k / n) = c_j c_k / c_(k - j)`. A table of a long length
    would take 64 MB at 2003; these constants take a few numbers for each element.
    """
    size = 1 << (2 * n - 2).bit_length()
    places = np.arange(n)
    chirp = np.exp(sign * np.pi * 1j / n * (places * places % (2 * n)))
    kernel = np.zeros(size, np.complex128)
    kernel[:n] = chirp.conj()
    kernel[size - n + 1 :] = chirp[:0:-1].conj()
    padding = [(0, 0)] * (z.ndim - 2) + [(0, size - n), (0, 0)]
    spectrum = _transform(jnp.pad(_turned(z, chirp), padding), size, -1)
    result = _transform(_turned(spectrum, np.fft.fft(kernel) / size), size, 1)[..., :n, :]
    return _turned(result, chirp)


def _turned(z: Any, factors: Any) -> Any:
    """(..., 2) times constant complex numbers of the shape in front of the last axis."""
    real, imag = z[..., 0], z[..., 1]
    cos, sin = np.asarray(factors.real, z.dtype), np.asarray(factors.imag, z.dtype)
    return jnp.stack([real * cos - imag * sin, real * sin + imag * cos], -1)


def _library(n: Any) -> Any:
    """Tables of a known length are constants."""
    return jnp if is_symbolic(n) else np


def _is_long(n: Any) -> bool:
    """Whether a transform is not done in one step."""
    return not is_symbolic(n) and n > _ONE_STEP


def _factor(n: Any) -> int:
    """The factor of a long length nearest to its root; 1 for what is done at once."""
    if not _is_long(n):
        return 1
    return next(f for f in range(math.isqrt(n), 0, -1) if n % f == 0)


def _from_real(x: Any, n: Any, sign: int, count: Any) -> Any:
    """The first `count` elements of the transform of real input along its last axis."""
    factors = _two_factors(n)
    if factors is not None and factors[0] % 2 == factors[1] % 2 == 0 and count <= n // 2 + 1:
        return _of_real_rows(x, factors, sign)[..., :count, :]
    if factors is not None:
        return _of_rows(x[..., None, :], factors, sign, count)
    if _is_long(n):
        return _transform(jnp.stack([x, jnp.zeros_like(x)], -1), n, sign)[..., :count, :]
    angles = _angles(n, count, sign)
    xp = _library(n)
    table = xp.stack(_cos_sin(angles), -1).reshape(n, 2 * count)
    return jnp.reshape(jnp.matmul(x, table.astype(x.dtype)), (*x.shape[:-1], count, 2))


def _to_real(z: Any, n: Any) -> Any:
    """Real output from the first n // 2 + 1 coefficients; those behind are their conjugates."""
    half = n // 2 + 1
    if _is_long(n):
        last = half - 1 if n % 2 == 0 else half
        mirrored = lax.rev(z[..., 1:last, :], (z.ndim - 2,)) * np.array([1, -1], z.dtype)
        # The parts that a real signal does not have are not looked at.
        keep = np.ones((half, 2), z.dtype)
        keep[0, 1] = 0
        keep[-1, 1] = 0 if n % 2 == 0 else 1
        full = jnp.concatenate([z * keep, mirrored], -2)
        return _transform(full, n, 1)[..., 0] * np.array(1 / n, z.dtype)
    xp = _library(n)
    place = xp.arange(half)[:, None]
    alone = (place == 0) | (2 * place == n)  # no conjugate behind, and no imaginary part
    angles = _angles(n, half, 1).T
    weight = xp.where(alone, 1, 2) * _inverse(n, np.float64 if xp is np else z.dtype)
    cos, sin = _cos_sin(angles)
    table = xp.stack([cos * weight, -xp.where(alone, 0, sin) * weight], 1).reshape(2 * half, n)
    return jnp.matmul(jnp.reshape(z, (*z.shape[:-2], 2 * half)), table.astype(z.dtype))
