"""Eigenvalues of symmetric matrices and singular values by Jacobi's rotations, all disjoint pairs of a round at once.

Vectors are what the decomposition determines: the direction, not the sign (or phase) that LAPACK happens to give.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._mapped import mapped
from .._plugin import plugin
from ._householder import qr_one
from ._linear_algebra import conj, line

# Sweeps end when nothing is left to turn; this is a bound for matrices that hold NaN.
_SWEEPS = 30
# Added to a divisor that may be 0.
_TINY = 1e-30


def _next_round(n: Any) -> Any:
    """The order of rows for the next round of a tournament; neighbours meet, every two once in n - 1 rounds."""
    xp: Any = np if isinstance(n, int) else jnp
    rows = line(n)
    # Players stand in a circle, 0 fixed: each pair is a player and the one opposite, and then all move by a place.
    places = xp.where(rows % 2 == 0, rows // 2, n - 1 - rows // 2)
    players = xp.where(places == 0, 0, xp.where(places == 1, n - 1, places - 1))
    return xp.where(players < n // 2, 2 * players, 2 * (n - 1 - players) + 1)


def _rotations(first: Any, second: Any, between: Any) -> Any:
    """Matrices (pairs, 2, 2) that make [[first, between], [conj(between), second]] diagonal, from the left.

    The numbers are at most about 1: squares that underflow are those of pairs that need no turn.
    """
    between = between + between
    apart = second - first
    root = jnp.sqrt(apart * apart + jnp.real(between * conj(between)))
    tangent = between / (apart + jnp.where(apart >= 0, root + _TINY, -root))
    cosine = lax.rsqrt(1 + jnp.real(tangent * conj(tangent))).astype(between.dtype)
    sine = tangent * cosine
    return jnp.stack([cosine, -sine, conj(sine), cosine], 1).reshape(-1, 2, 2)


def _one_if_finite(number: Any) -> Any:
    """1, or NaN for what is not finite: rotations leave NaN where it is, JAX spreads it over all results."""
    return 1 + (number - number)


def _even(n: Any) -> Any:
    """The next even number, so that a symbolic one is known to be even."""
    return (n + 1) // 2 * 2


def _turned(rotations: Any, rows: Any, order: Any) -> Any:
    """Pairs of neighbours turned, then in the order of the next round."""
    pairs = rows.reshape(rows.shape[0] // 2, 2, rows.shape[1])
    return jnp.matmul(rotations, pairs).reshape(rows.shape)[order]


def _sweeps(state: Any, turn: Any, not_converged: Any, rounds: int) -> Any:
    """Sweeps of `turn(state)` while `not_converged(state)`; rows are in their first order after each."""

    def sweep(carry: Any) -> Any:
        count, state = carry
        return count + 1, lax.fori_loop(0, rounds, lambda _, state: turn(state), state)

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
    if isinstance(n, int) and n < 2:
        return jnp.ones_like(a), diagonal
    even = _even(n)  # a row of zeros sits out the odd round
    a = half + conj(half).T + jnp.diag(diagonal).astype(a.dtype)
    scale = jnp.max(jnp.abs(a))
    a = lax.pad(a / jnp.where(scale == 0, 1, scale), np.zeros((), a.dtype), [(0, even - n, 0)] * 2)
    following = _next_round(even)
    places = line(even)

    def turn(state: Any) -> Any:
        a, v = state
        diagonal = jnp.real(a[places, places])
        rotations = _rotations(diagonal[0::2], diagonal[1::2], a[places[0::2], places[1::2]])
        half = _turned(rotations, a, following)
        return _turned(rotations, conj(half).T, following), _turned(rotations, v, following)

    def not_converged(state: Any) -> Any:
        # Rotations of what is diagonal but for rounding leave about so much beside the eigenvalues.
        sizes, is_diagonal = jnp.abs(state[0]), jnp.eye(even, dtype=bool)
        noise = 2 * jnp.finfo(sizes.dtype).eps * jnp.max(jnp.where(is_diagonal, sizes, 0))
        return jnp.max(jnp.where(is_diagonal, 0, sizes)) > noise

    a, v = _sweeps((a, jnp.eye(even, dtype=a.dtype)), turn, not_converged, even - 1)
    finite = _one_if_finite(scale)
    values, v = jnp.real(jnp.diagonal(a))[:n] * scale * finite, conj(v).T[:n, :n] * finite
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
    m, n = a.shape
    if n == 0:
        values = jnp.zeros((0,), jnp.real(a).dtype)
        basis = jnp.eye(m, m if full_matrices else 0, dtype=a.dtype)
        return (values, basis, jnp.zeros((0, 0), a.dtype)) if compute_uv else (values,)
    even = _even(n)
    largest = jnp.max(jnp.abs(a))
    scale = jnp.where(largest == 0, 1, largest)
    q, r = qr_one(a / scale, full_matrices=False)
    # Rotations make the columns of R orthogonal: R V = U S. Rows are their conjugates.
    rows = lax.pad(conj(r).T, np.zeros((), a.dtype), [(0, even - n, 0), (0, 0, 0)])
    tiny = jnp.finfo(a.dtype).eps
    following = _next_round(even)

    def turn(state: Any) -> Any:
        x, v = state
        squares, left, right = jnp.sum(jnp.abs(x) ** 2, 1), x[0::2], x[1::2]
        rotations = _rotations(squares[0::2], squares[1::2], jnp.sum(left * conj(right), 1))
        return _turned(rotations, x, following), _turned(rotations, v, following)

    def not_converged(state: Any) -> Any:
        gram = state[0] @ conj(state[0]).T
        lengths = jnp.sqrt(jnp.real(jnp.diagonal(gram)))
        bound = tiny * even * lengths[:, None] * lengths[None]
        largest = jnp.max(lengths)
        return jnp.any(
            (jnp.abs(gram) * (1 - jnp.eye(even)) > bound) & (lengths[:, None] * lengths[None] > (tiny * largest) ** 2)
        )

    state = (rows, jnp.eye(even, dtype=a.dtype))
    x, v = state if isinstance(n, int) and n == 1 else _sweeps(state, turn, not_converged, even - 1)
    x, v = conj(x).T[:, :n], conj(v).T[:n, :n]
    values = jnp.sqrt(jnp.sum(jnp.abs(x) ** 2, 0))
    order = jnp.argsort(-values)
    values = values[order]
    if not compute_uv:
        return (values * scale,)
    x, v = x[:, order], v[:, order]
    # An orthonormal basis that starts with the columns' directions, also where a singular value is zero.
    basis, corner = qr_one(q @ (x / jnp.where(values == 0, 1, values)), full_matrices=full_matrices)
    heads = jnp.diagonal(corner)[:n]
    size = jnp.abs(heads)
    phases = jnp.where(size < 0.5, 1, heads / jnp.where(size == 0, 1, size))
    phases = jnp.concatenate([phases, jnp.ones((basis.shape[1] - n,), phases.dtype)])
    return values * scale, basis * phases, conj(v).T * _one_if_finite(jnp.max(values))
