"""Eigenvalues of symmetric matrices and singular values by Jacobi's rotations, all disjoint pairs of a round at once.

Vectors are what the decomposition determines: the direction, not the sign (or phase) that LAPACK happens to give.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._plugin import plugin
from ._householder import qr_one
from ._linear_algebra import conj, mapped

# Sweeps end when nothing is left to turn; this is a bound for matrices that hold NaN.
_SWEEPS = 30


def _rounds(n: int) -> np.ndarray[Any, Any]:
    """The order of the rows in each round of a tournament where every two meet once; neighbours are pairs."""
    players = list(range(n))
    rounds = []
    for _ in range(n - 1):
        pairs = [(players[i], players[n - 1 - i]) for i in range(n // 2)]
        rounds.append([player for pair in pairs for player in sorted(pair)])
        players = [players[0], players[-1], *players[1:-1]]
    return np.array(rounds, np.int32).reshape(n - 1, n)


def _rotations(first: Any, second: Any, between: Any) -> tuple[Any, Any]:
    """Cosine and (complex) sine that make the 2x2 matrices [[first, between], [conj(between), second]] diagonal."""
    size = jnp.abs(between)
    turned = size > 0
    phase = jnp.where(turned, between / jnp.where(turned, size, 1), 1)
    ratio = (second - first) / (2 * jnp.where(turned, size, 1))
    # The smaller root of t^2 + 2 ratio t = 1.
    sign = jnp.where(ratio >= 0, 1, -1)
    tangent = jnp.where(turned, sign / (jnp.abs(ratio) + jnp.sqrt(1 + ratio * ratio)), 0)
    cosine = 1 / jnp.sqrt(1 + tangent * tangent)
    return cosine, tangent * cosine * phase


def _one_if_finite(number: Any) -> Any:
    """1, or NaN for what is not finite: rotations leave NaN where it is, JAX spreads it over all results."""
    return 1 + (number - number)


def _turn_columns(x: Any, p: Any, q: Any, cosine: Any, sine: Any) -> Any:
    left, right = x[:, p], x[:, q]
    cosine = cosine.astype(x.dtype)
    return x.at[:, p].set(left * cosine - right * conj(sine)).at[:, q].set(left * sine + right * cosine)


def _sweeps(state: Any, turn: Any, not_converged: Any, order: np.ndarray[Any, Any]) -> Any:
    """Rounds of `turn(state, p, q)` while `not_converged(state)`."""
    table = jnp.asarray(order)

    def sweep(carry: Any) -> Any:
        count, state = carry

        def once(k: Any, state: Any) -> Any:
            pairs = table[k]
            return turn(state, pairs[0::2], pairs[1::2])

        return count + 1, lax.fori_loop(0, order.shape[0], once, state)

    return lax.while_loop(lambda carry: (carry[0] < _SWEEPS) & not_converged(carry[1]), sweep, (0, state))[1]


@plugin.decomposition("eigh", ignores=("algorithm",))
def _eigh(a: Any, *, lower: bool, sort_eigenvalues: bool, subset_by_index: Any) -> Any:
    vectors, values = mapped(lambda a: _eigh_one(a, lower, sort_eigenvalues), a)
    if subset_by_index is not None:
        first, last = subset_by_index
        return vectors[..., first:last], values[..., first:last]
    return vectors, values


def _eigh_one(a: Any, lower: bool, in_order: bool) -> tuple[Any, Any]:
    n = a.shape[0]
    half = jnp.tril(a, -1) if lower else jnp.triu(a, 1)
    diagonal = jnp.real(jnp.diagonal(a))
    if n < 2:
        return jnp.ones_like(a), diagonal
    even = n + n % 2  # a row of zeros sits out the odd round
    a = half + conj(half).T + jnp.diag(diagonal).astype(a.dtype)
    a = jnp.pad(a, ((0, even - n), (0, even - n)))
    scale = jnp.max(jnp.abs(a))
    tiny = jnp.finfo(a.dtype).eps

    def turn(state: Any, p: Any, q: Any) -> Any:
        a, v = state
        cosine, sine = _rotations(jnp.real(a[p, p]), jnp.real(a[q, q]), a[p, q])
        a = _turn_columns(a, p, q, cosine, sine)
        a = conj(_turn_columns(conj(a).T, p, q, cosine, sine)).T
        return a, _turn_columns(v, p, q, cosine, sine)

    def not_converged(state: Any) -> Any:
        return jnp.max(jnp.abs(state[0] * (1 - jnp.eye(even, dtype=a.dtype)))) > tiny * scale / n

    a, v = _sweeps((a, jnp.eye(even, dtype=a.dtype)), turn, not_converged, _rounds(even))
    finite = _one_if_finite(scale)
    values, v = jnp.real(jnp.diagonal(a))[:n] * finite, v[:n, :n] * finite
    if not in_order:
        return v, values
    order = jnp.argsort(values)
    return v[:, order], values[order]


@plugin.decomposition("svd", ignores=("algorithm",))
def _svd(a: Any, *, full_matrices: bool, compute_uv: bool, subset_by_index: Any) -> Any:
    results = mapped(lambda a: _svd_one(a, full_matrices, compute_uv), a)
    if subset_by_index is None:
        return results
    first, last = subset_by_index
    values, *vectors = results
    if not vectors or full_matrices:
        return (values[..., first:last], *vectors)
    return values[..., first:last], vectors[0][..., first:last], vectors[1][..., first:last, :]


def _svd_one(a: Any, full_matrices: bool, compute_uv: bool) -> tuple[Any, ...]:
    if a.shape[0] < a.shape[1]:
        values, *vectors = _svd_one(conj(a).T, full_matrices, compute_uv)
        return (values, *(conj(x).T for x in reversed(vectors)))
    n = a.shape[1]
    even = n + n % 2
    q, r = qr_one(a, full_matrices=False)
    # Rotations make the columns of R orthogonal: R V = U S.
    x = jnp.pad(r, ((0, 0), (0, even - n)))
    tiny = jnp.finfo(a.dtype).eps

    def products(x: Any) -> Any:
        return conj(x).T @ x

    def turn(state: Any, p: Any, q: Any) -> Any:
        x, v = state
        left, right = x[:, p], x[:, q]
        between = jnp.sum(conj(left) * right, 0)
        first, second = jnp.sum(jnp.abs(left) ** 2, 0), jnp.sum(jnp.abs(right) ** 2, 0)
        cosine, sine = _rotations(first, second, between)
        return _turn_columns(x, p, q, cosine, sine), _turn_columns(v, p, q, cosine, sine)

    def not_converged(state: Any) -> Any:
        gram = products(state[0])
        lengths = jnp.sqrt(jnp.real(jnp.diagonal(gram)))
        bound = tiny * even * lengths[:, None] * lengths[None]
        largest = jnp.max(lengths)
        return jnp.any(
            (jnp.abs(gram) * (1 - jnp.eye(even)) > bound) & (lengths[:, None] * lengths[None] > (tiny * largest) ** 2)
        )

    state = (x, jnp.eye(even, dtype=a.dtype))
    x, v = _sweeps(state, turn, not_converged, _rounds(even)) if n > 1 else state
    x, v = x[:, :n], v[:n, :n]
    values = jnp.sqrt(jnp.sum(jnp.abs(x) ** 2, 0))
    order = jnp.argsort(-values)
    values = values[order]
    if not compute_uv:
        return (values,)
    x, v = x[:, order], v[:, order]
    # An orthonormal basis that starts with the columns' directions, also where a singular value is zero.
    basis, corner = qr_one(q @ (x / jnp.where(values == 0, 1, values)), full_matrices=full_matrices)
    heads = jnp.diagonal(corner)[:n]
    size = jnp.abs(heads)
    phases = jnp.where(size < 0.5, 1, heads / jnp.where(size == 0, 1, size))
    phases = jnp.concatenate([phases, jnp.ones((basis.shape[1] - n,), phases.dtype)])
    return values, basis * phases, conj(v).T * _one_if_finite(jnp.max(values))
