"""Householder's reflections and what is made of them: QR, with pivots too, Hessenberg and tridiagonal form.

A reflection is H = 1 - tau v v^H with v = (0, 1, tail); the tails are kept below the diagonal, as LAPACK has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._mapped import mapped
from .._plugin import plugin
from ._linear_algebra import conj, of_matrices


def _norm(x: Any) -> Any:
    """Lengths of the columns, without overflow on the way."""
    scale = jnp.max(jnp.abs(x), 0, initial=0)
    safe = jnp.where(scale == 0, 1, scale)
    return safe * jnp.sqrt(jnp.sum(jnp.abs(x / safe) ** 2, 0))


def _reflection(column: Any, j: Any, rows: Any) -> tuple[Any, Any, Any]:
    """The vector (1 at j, 0 above), the element that is left at j, and the factor: LAPACK's larfg."""
    head = column[j]
    tail = jnp.where(rows > j, column, 0)
    length = _norm(tail)
    norm = jnp.hypot(jnp.abs(head), length)
    beta = jnp.where(jnp.real(head) >= 0, -norm, norm).astype(column.dtype)
    nothing = (length == 0) & (jnp.imag(head) == 0)
    beta = jnp.where(nothing, head, beta)
    tau = jnp.where(nothing, 0, (beta - head) / jnp.where(beta == 0, 1, beta))
    vector = jnp.where(nothing, 0, tail / jnp.where(nothing, 1, head - beta))
    return jnp.where(rows == j, 1, vector).astype(column.dtype), beta, tau.astype(column.dtype)


def _from_left(x: Any, vector: Any, tau: Any) -> Any:
    """One reflection applied: H x."""
    return x - tau * vector[:, None] * (conj(vector) @ x)[None]


def _from_right(x: Any, vector: Any, tau: Any) -> Any:
    """The same from the other side: x H."""
    return x - tau * (x @ vector)[:, None] * conj(vector)[None]


def _stored(a: Any, j: Any, rows: Any) -> Any:
    """The vector of a reflection whose 1 belongs to row j of a column that keeps its tail."""
    return jnp.where(rows > j, a, jnp.where(rows == j, 1, 0)).astype(a.dtype)


def _loop(count: int, step: Callable[[Any, Any], Any], state: Any) -> Any:
    """A loop of `count` turns. For none, the body is not traced: its arrays may have no elements to index."""
    return lax.fori_loop(0, count, step, state) if count else state


@plugin.decomposition("geqrf")
@of_matrices
def _geqrf(a: Any) -> tuple[Any, Any]:
    """Each column is turned into a multiple of the first axis that is left."""
    count = min(a.shape)
    return _loop(count, _geqrf_column, (a, jnp.zeros((count,), a.dtype)))  # type: ignore[no-any-return]


def _geqrf_column(j: Any, state: Any) -> Any:
    a, taus = state
    rows, columns = jnp.arange(a.shape[0]), jnp.arange(a.shape[1])
    vector, beta, tau = _reflection(a[:, j], j, rows)
    turned = jnp.where(columns[None] > j, _from_left(a, vector, conj(tau)), a)
    kept = jnp.where(rows > j, vector, jnp.where(rows == j, beta, turned[:, j]))
    return turned.at[:, j].set(kept), taus.at[j].set(tau)


@plugin.decomposition("geqp3", ignores=("use_magma",))
@of_matrices
def _geqp3(a: Any, first: Any) -> tuple[Any, Any, Any]:
    """The longest column that is left comes next; those marked in `first` come before all others."""
    m, n = a.shape
    rows, columns = jnp.arange(m), jnp.arange(n)

    def column(j: Any, state: Any) -> Any:
        a, taus, pivots, first = state
        length = jnp.where(first != 0, jnp.inf, _norm(jnp.where(rows[:, None] >= j, a, 0)))
        longest = jnp.argmax(jnp.where(columns >= j, length, -1))
        order = jnp.where(columns == j, longest, jnp.where(columns == longest, j, columns))
        return (*_geqrf_column(j, (a[:, order], taus)), pivots[order], first[order])

    count = min(m, n)
    state = (a, jnp.zeros((count,), a.dtype), (columns + 1).astype(np.int32), first)
    a, taus, pivots, _ = _loop(count, column, state)
    return a, pivots, taus


@plugin.decomposition("householder_product")
@of_matrices
def householder_product(a: Any, taus: Any) -> Any:
    """The reflections from the last to the first, applied to the first columns of the identity."""
    return _reflected(a, taus, jnp.eye(a.shape[0], a.shape[1], dtype=a.dtype), _from_left, backwards=True)


def _reflected(a: Any, taus: Any, x: Any, apply: Callable[..., Any], *, backwards: bool) -> Any:
    """`x` after all reflections that `a` keeps, one by one."""
    rows = jnp.arange(a.shape[0])
    count = taus.shape[0]

    def reflect(step: Any, x: Any) -> Any:
        j = count - 1 - step if backwards else step
        return apply(x, _stored(a[:, j], j, rows), taus[j])

    return _loop(count, reflect, x)


@plugin.decomposition("ormqr")
def _ormqr(a: Any, taus: Any, c: Any, *, left: bool, transpose: bool) -> Any:
    """Q c, Q^H c, c Q or c Q^H. The adjoint of a reflection has the conjugate factor."""
    apply = _from_left if left else _from_right
    taus = conj(taus) if transpose else taus
    return mapped(lambda a, taus, c: _reflected(a, taus, c, apply, backwards=left != transpose), a, taus, c)


@plugin.decomposition("qr", ignores=("use_magma",))
def _qr(a: Any, *, pivoting: bool, full_matrices: bool) -> Any:
    return mapped(lambda a: qr_one(a, full_matrices, pivoting), a)


def qr_one(a: Any, full_matrices: bool, pivoting: bool = False) -> tuple[Any, ...]:
    """Q and R of one matrix, and the order of its columns if they are pivoted."""
    m, n = a.shape
    pivots: tuple[Any, ...] = ()
    if pivoting and m:
        reflections, order, taus = _geqp3(a, jnp.zeros((n,), np.int32))
        pivots = (order - 1,)
    else:
        reflections, taus = _geqrf(a)
        pivots = (jnp.zeros((n,), np.int32),) if pivoting else ()
    width = m if full_matrices else min(m, n)
    if width > n:
        reflections = jnp.pad(reflections, ((0, 0), (0, width - n)))
    q = householder_product(reflections[:, :width], taus)
    return q, jnp.triu(reflections[:width, :n]), *pivots


@plugin.decomposition("hessenberg")
@of_matrices
def hessenberg(a: Any) -> tuple[Any, Any]:
    """Zeros below the first subdiagonal by reflections from both sides, which are kept in place of the zeros."""
    n = a.shape[0]
    rows = jnp.arange(n)
    count = max(n - 1, 0)

    def column(j: Any, state: Any) -> Any:
        a, taus = state
        vector, beta, tau = _reflection(a[:, j], j + 1, rows)
        turned = _from_left(_from_right(a, vector, tau), vector, conj(tau))
        turned = jnp.where(rows[None] > j, turned, a)
        kept = jnp.where(rows > j + 1, vector, jnp.where(rows == j + 1, beta, a[:, j]))
        return turned.at[:, j].set(kept), taus.at[j].set(tau)

    return _loop(count, column, (a, jnp.zeros((count,), a.dtype)))  # type: ignore[no-any-return]


@plugin.decomposition("tridiagonal")
def _tridiagonal(a: Any, *, lower: bool) -> Any:
    # The upper triangle is the lower one of the matrix turned around.
    if lower:
        return mapped(_tridiagonal_one, a)
    a, *rest = mapped(_tridiagonal_one, a[..., ::-1, ::-1])
    return a[..., ::-1, ::-1], *(x[..., ::-1] for x in rest)


def _tridiagonal_one(a: Any) -> tuple[Any, Any, Any, Any]:
    """Hessenberg's form of the Hermitian matrix with this lower triangle."""
    below = jnp.tril(a, -1)
    diagonal = jnp.diag(jnp.real(jnp.diagonal(a))).astype(a.dtype)
    form, taus = hessenberg(below + diagonal + conj(below).T)
    return (
        jnp.tril(form) + jnp.triu(a, 1),
        jnp.real(jnp.diagonal(form)),
        jnp.real(jnp.diagonal(form, -1)),
        taus,
    )
