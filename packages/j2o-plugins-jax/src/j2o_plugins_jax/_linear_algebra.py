"""Factorizations and solvers in JAX code: one loop over columns or rows, matrices mapped over the batch.

Signs and pivots are LAPACK's, so that the factors are the ones that JAX gives on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._plugin import plugin


def mapped(fn: Callable[..., Any], *arrays: Any, ranks: tuple[int, ...] = (2,)) -> Any:
    """`fn` of matrices (or vectors, by rank) for all leading axes."""
    for _ in range(arrays[0].ndim - ranks[0]):
        fn = jax.vmap(fn)
    return fn(*arrays)


def conj(x: Any) -> Any:
    """The conjugate; a real array as it is."""
    return jnp.conj(x) if jnp.iscomplexobj(x) else x


@plugin.decomposition("cholesky")
def _cholesky(a: Any, **_: object) -> Any:
    return mapped(_cholesky_one, a)


def _cholesky_one(a: Any) -> Any:
    """Column by column: what is left of a column over the root of its diagonal element. Above the diagonal a stays."""
    n = a.shape[-1]
    rows = jnp.arange(n)

    def column(j: Any, factor: Any) -> Any:
        rest = a[:, j] - factor @ conj(factor[j])
        root = jnp.sqrt(jnp.real(rest[j]))
        return factor.at[:, j].set(jnp.where(rows > j, rest / root, jnp.where(rows == j, root, 0)).astype(a.dtype))

    factor = lax.fori_loop(0, n, column, jnp.zeros_like(a))
    positive = (jnp.real(jnp.diagonal(factor)) > 0).all()
    return jnp.where(positive, factor + jnp.triu(a, 1), jnp.nan)


@plugin.decomposition("triangular_solve")
def _triangular_solve(
    a: Any,
    b: Any,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
    **_: object,
) -> Any:
    """All cases by transposing and turning around until the matrix is lower and on the left."""
    a = conj(a) if conjugate_a else a
    if not left_side:
        b = jnp.swapaxes(b, -1, -2)
    if transpose_a == left_side:
        a, lower = jnp.swapaxes(a, -1, -2), not lower
    if not lower:
        a, b = a[..., ::-1, ::-1], b[..., ::-1, :]
    x = mapped(lambda a, b: _forward(a, b, unit_diagonal), a, b)
    x = x if lower else x[..., ::-1, :]
    return x if left_side else jnp.swapaxes(x, -1, -2)


def _forward(a: Any, b: Any, unit_diagonal: bool) -> Any:
    def row(i: Any, x: Any) -> Any:
        # Rows from i on are still zero.
        rest = b[i] - a[i] @ x
        return x.at[i].set(rest if unit_diagonal else rest / a[i, i])

    a = jnp.tril(a, -1 if unit_diagonal else 0)
    return lax.fori_loop(0, a.shape[0], row, jnp.zeros_like(b))


@plugin.decomposition("lu")
def _lu(a: Any, **_: object) -> Any:
    return mapped(_lu_one, a)


def _lu_one(a: Any) -> tuple[Any, Any, Any]:
    m, n = a.shape
    rows, columns = jnp.arange(m), jnp.arange(n)

    def column(k: Any, state: Any) -> Any:
        a, pivots, permutation = state
        size = jnp.abs(jnp.real(a[:, k])) + jnp.abs(jnp.imag(a[:, k])) if jnp.iscomplexobj(a) else jnp.abs(a[:, k])
        pivot = jnp.argmax(jnp.where(rows >= k, size, -jnp.inf)).astype(np.int32)
        order = jnp.where(rows == k, pivot, jnp.where(rows == pivot, k, rows))
        a, permutation = a[order], permutation[order]
        head = a[k, k]
        multipliers = jnp.where((rows > k) & (head != 0), a[:, k] / jnp.where(head == 0, 1, head), a[:, k])
        a = a.at[:, k].set(multipliers)
        update = jnp.where((rows > k)[:, None] & (columns > k)[None], multipliers[:, None] * a[k][None], 0)
        return a - update, pivots.at[k].set(pivot), permutation

    count = min(m, n)
    state = (a, jnp.zeros((count,), np.int32), rows.astype(np.int32))
    return lax.fori_loop(0, count, column, state) if count else state


@plugin.decomposition("lu_pivots_to_permutation")
def _lu_pivots_to_permutation(pivots: Any, *, permutation_size: int, **_: object) -> Any:
    rows = jnp.arange(permutation_size, dtype=np.int32)

    def one(pivots: Any) -> Any:
        def swap(k: Any, permutation: Any) -> Any:
            pivot = pivots[k]
            return permutation[jnp.where(rows == k, pivot, jnp.where(rows == pivot, k, rows))]

        return lax.fori_loop(0, pivots.shape[0], swap, rows) if pivots.shape[0] else rows

    return mapped(one, pivots, ranks=(1,))


@plugin.decomposition("geqrf")
def _geqrf(a: Any, **_: object) -> Any:
    return mapped(_geqrf_one, a)


def _geqrf_one(a: Any) -> tuple[Any, Any]:
    """Householder reflections H = 1 - tau v v^H that turn each column into a multiple of the first axis."""
    m, n = a.shape
    rows, columns = jnp.arange(m), jnp.arange(n)
    count = min(m, n)

    def column(j: Any, state: Any) -> Any:
        a, taus = state
        vector, beta, tau = _reflection(a[:, j], j, rows)
        update = conj(tau) * vector[:, None] * (conj(vector) @ a)[None]
        turned = jnp.where(columns[None] > j, a - update, a)
        kept = jnp.where(rows > j, vector, jnp.where(rows == j, beta, turned[:, j]))
        return turned.at[:, j].set(kept), taus.at[j].set(tau)

    taus = jnp.zeros((count,), a.dtype)
    return lax.fori_loop(0, count, column, (a, taus)) if count else (a, taus)


def _reflection(column: Any, j: Any, rows: Any) -> tuple[Any, Any, Any]:
    """The vector (1 at j, 0 above), the element that is left at j, and the factor: LAPACK's larfg."""
    head = column[j]
    tail = jnp.where(rows > j, column, 0)
    scale = jnp.max(jnp.abs(tail), initial=0)
    safe = jnp.where(scale == 0, 1, scale)
    length = safe * jnp.sqrt(jnp.sum(jnp.abs(tail / safe) ** 2))
    norm = jnp.hypot(jnp.abs(head), length)
    beta = jnp.where(jnp.real(head) >= 0, -norm, norm).astype(column.dtype)
    nothing = (length == 0) & (jnp.imag(head) == 0)
    beta = jnp.where(nothing, head, beta)
    tau = jnp.where(nothing, 0, (beta - head) / jnp.where(beta == 0, 1, beta))
    vector = jnp.where(nothing, 0, tail / jnp.where(nothing, 1, head - beta))
    return jnp.where(rows == j, 1, vector).astype(column.dtype), beta, tau.astype(column.dtype)


@plugin.decomposition("householder_product")
def _householder_product(a: Any, taus: Any, **_: object) -> Any:
    return mapped(_householder_product_one, a, taus)


def _householder_product_one(a: Any, taus: Any) -> Any:
    """The reflections from the last to the first, applied to the first columns of the identity."""
    m, n = a.shape
    rows = jnp.arange(m)
    count = taus.shape[0]

    def reflect(step: Any, q: Any) -> Any:
        j = count - 1 - step
        vector = jnp.where(rows > j, a[:, j], jnp.where(rows == j, 1, 0)).astype(a.dtype)
        return q - taus[j] * vector[:, None] * (conj(vector) @ q)[None]

    identity = jnp.eye(m, n, dtype=a.dtype)
    return lax.fori_loop(0, count, reflect, identity) if count else identity


@plugin.decomposition("qr")
def _qr(a: Any, *, pivoting: bool, full_matrices: bool, **_: object) -> Any:
    if pivoting:
        raise NotImplementedError("QR with column pivoting")
    return mapped(lambda a: qr_one(a, full_matrices), a)


def qr_one(a: Any, full_matrices: bool) -> tuple[Any, Any]:
    """Q and R of one matrix."""
    m, n = a.shape
    reflections, taus = _geqrf_one(a)
    width = m if full_matrices else min(m, n)
    if width > n:
        reflections = jnp.pad(reflections, ((0, 0), (0, width - n)))
    q = _householder_product_one(reflections[:, :width], taus)
    return q, jnp.triu(reflections[: width if not full_matrices else m, :n])


@plugin.decomposition("tridiagonal_solve")
def _tridiagonal_solve(lower: Any, diagonal: Any, upper: Any, b: Any, **_: object) -> Any:
    return mapped(_tridiagonal_solve_one, lower, diagonal, upper, b, ranks=(1,))


def _tridiagonal_solve_one(lower: Any, diagonal: Any, upper: Any, b: Any) -> Any:
    """Thomas's algorithm: eliminate downwards, substitute upwards."""

    def down(before: Any, row: Any) -> Any:
        ratio, value = before
        low, middle, high, right = row
        scale = middle - low * ratio
        now = (high / scale, (right - low * value) / scale)
        return now, now

    def up(below: Any, row: Any) -> Any:
        ratio, value = row
        x = value - ratio * below
        return x, x

    start = (jnp.zeros_like(diagonal[0]), jnp.zeros_like(b[0]))
    _, eliminated = lax.scan(down, start, (lower.at[0].set(0), diagonal, upper, b))
    return lax.scan(up, jnp.zeros_like(b[0]), eliminated, reverse=True)[1]
