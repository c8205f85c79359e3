"""Factorizations and solvers in JAX code: one loop over columns or rows, matrices mapped over the batch.

Signs and pivots are LAPACK's, so that the factors are the ones that JAX gives on a CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from j2o_core import UnsupportedError

from .._mapped import mapped
from .._plugin import plugin


def of_matrices(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of matrices as one of arrays, for all their leading axes."""
    return functools.wraps(fn)(lambda *arrays: mapped(fn, *arrays))


def line(n: Any) -> Any:
    """0, 1 and so on to n - 1: a constant, or computed where n is symbolic."""
    return np.arange(n) if isinstance(n, int) else jnp.arange(n)


def conj(x: Any) -> Any:
    """The conjugate; a real array as it is."""
    return jnp.conj(x) if jnp.iscomplexobj(x) else x


def size(x: Any) -> Any:
    """The sizes by which LAPACK chooses pivots: absolute values, of complex numbers the sum of those of the parts."""
    return jnp.abs(jnp.real(x)) + jnp.abs(jnp.imag(x)) if jnp.iscomplexobj(x) else jnp.abs(x)


def nan_unless(good: Any, x: Any) -> Any:
    """`x`, or NaN in both parts of every element, as JAX has it where LAPACK fails."""
    return jnp.where(good, x, np.array(complex(np.nan, np.nan) if jnp.iscomplexobj(x) else np.nan, x.dtype))


@of_matrices
def cholesky_in_turns(a: Any) -> Any:
    """Column by column: what is left of a column over the root of its diagonal element. Above the diagonal a stays."""
    places = jnp.arange(a.shape[-1])
    below, elsewhere = places > places[:, None], places != places[:, None]

    def column(columns: Any, item: Any) -> Any:
        j, line, is_below, is_elsewhere = item
        rest = line - conj(columns[:, j]) @ columns
        root = jnp.sqrt(jnp.real(rest[j]))
        line = jnp.where(is_below, rest / root, jnp.where(is_elsewhere, 0, root)).astype(a.dtype)
        return columns.at[j].set(line), None

    factor = lax.scan(column, jnp.zeros_like(a), (places, a.T, below, elsewhere))[0].T
    positive = (jnp.real(jnp.diagonal(factor)) > 0).all()
    return nan_unless(positive, factor + jnp.triu(a, 1))


def triangular_solve_in_turns(a: Any, b: Any, left_side: bool, turned: bool, lower: bool, unit_diagonal: bool) -> Any:
    """All cases by transposing and turning around until the matrix is lower and on the left; then row by row.

    Args:
        a: triangular matrices.
        b: the other sides of the equations.
        left_side: whether a is on the left of the unknowns.
        turned: whether it is a transposed that is on the left of the unknowns, or of these transposed.
        lower: whether that matrix is lower triangular.
        unit_diagonal: whether its diagonal is taken as ones.
    """
    if not left_side:
        b = jnp.swapaxes(b, -1, -2)
    if turned:
        a = jnp.swapaxes(a, -1, -2)
    if not lower:
        a, b = a[..., ::-1, ::-1], b[..., ::-1, :]
    x = mapped(lambda a, b: _forward(a, b, unit_diagonal), a, b)
    x = x if lower else x[..., ::-1, :]
    return x if left_side else jnp.swapaxes(x, -1, -2)


def _forward(a: Any, b: Any, unit_diagonal: bool) -> Any:
    def row(x: Any, item: Any) -> Any:
        # Rows from i on are still zero.
        i, factors, right, head = item
        rest = right - factors @ x
        return x.at[i].set(rest if unit_diagonal else rest / head), None

    a = jnp.tril(a, -1 if unit_diagonal else 0)
    items = jnp.arange(a.shape[0]), a, b, jnp.diagonal(a)
    return lax.scan(row, jnp.zeros_like(b), items)[0]


@plugin.decomposition("lu")
@of_matrices
def _lu(a: Any) -> tuple[Any, Any, Any]:
    """Column by column, of the transposed matrix: a column is a row there, which is written at once."""
    m, n = a.shape
    rows = jnp.arange(m)

    def column(state: Any, item: Any) -> Any:
        columns, permutation = state
        k, is_k, is_above, is_settled, is_before = item
        sizes = size(columns[k])
        numbers = jnp.where(sizes == sizes, sizes, jnp.inf)  # the first NaN or infinity is the pivot
        pivot = jnp.argmax(jnp.where(is_above, -jnp.inf, numbers)).astype(np.int32)
        order = jnp.where(is_k, pivot, jnp.where(rows == pivot, k, rows))
        columns, permutation = columns[:, order], permutation[order]
        line = columns[k]
        head = line[k]
        multipliers = line / jnp.where(is_settled | (head == 0), 1, head)
        update = jnp.where(is_before | is_settled, 0, columns[:, k][:, None] * multipliers)
        return (columns.at[k].set(multipliers) - update, permutation), pivot

    count = min(m, n)
    if not count:
        return a, jnp.zeros((0,), np.int32), rows.astype(np.int32)
    turns = jnp.arange(count)
    at = turns[:, None]
    items = turns, rows == at, rows < at, rows <= at, (jnp.arange(n) <= at)[..., None]
    (columns, permutation), pivots = lax.scan(column, (a.T, rows.astype(np.int32)), items)
    return columns.T, pivots, permutation


@plugin.decomposition("lu_pivots_to_permutation")
def _lu_pivots_to_permutation(pivots: Any, *, permutation_size: int) -> Any:
    rows = jnp.arange(permutation_size, dtype=np.int32)

    def one(pivots: Any) -> Any:
        def swap(k: Any, permutation: Any) -> Any:
            pivot = pivots[k]
            return permutation[jnp.where(rows == k, pivot, jnp.where(rows == pivot, k, rows))]

        return lax.fori_loop(0, pivots.shape[0], swap, rows) if pivots.shape[0] else rows

    return mapped(one, pivots, rank=1)


@plugin.decomposition("tridiagonal_solve")
def _tridiagonal_solve(lower: Any, diagonal: Any, upper: Any, b: Any, *, perturb_singular: bool = False) -> Any:
    if perturb_singular:
        raise UnsupportedError(
            "tridiagonal_solve(perturb_singular=True) has no ONNX form: JAX perturbs pivots by an amount that only its "
            "own kernels know. Leave perturb_singular out; singular systems then give NaN."
        )
    if b.size == 0:
        return b
    return mapped(_tridiagonal_solve_one, lower, diagonal, upper, b, rank=1)


def _tridiagonal_solve_one(lower: Any, diagonal: Any, upper: Any, b: Any) -> Any:
    """Eliminate downwards, with the larger one of two rows as the pivot; substitute upwards. LAPACK's gtsv."""

    def down(above: Any, row: Any) -> Any:
        # `above` is what is left of the row above: elements in the column of its pivot and in the next one.
        head, next_to_head, right = above
        low, middle, high, new_right = row
        stays = size(head) >= size(low)
        first = jnp.where(stays, head, low)
        ratio = jnp.where(stays, low, head) / first
        pivot = (
            first,
            jnp.where(stays, next_to_head, middle),
            jnp.where(stays, 0, high),
            jnp.where(stays, right, new_right),
        )
        rest = (
            jnp.where(stays, middle - ratio * next_to_head, next_to_head - ratio * middle),
            jnp.where(stays, high, -ratio * high),
            jnp.where(stays, new_right - ratio * right, right - ratio * new_right),
        )
        return rest, pivot

    def up(below: Any, row: Any) -> Any:
        head, one, two, right = row
        x = (right - one * below[0] - two * below[1]) / head
        return (x, below[0]), x

    nothing = jnp.zeros_like(b[0])
    upper = upper.at[-1].set(0)
    last, rows = lax.scan(down, (diagonal[0], upper[0], b[0]), (lower[1:], diagonal[1:], upper[1:], b[1:]))
    x = last[2] / last[0]
    _, above = lax.scan(up, (x, nothing), rows, reverse=True)
    regular = (rows[0] != 0).all() & (last[0] != 0)
    return nan_unless(regular, jnp.concatenate([above, x[None]]))


@plugin.decomposition("symmetric_product")
def _symmetric_product(a: Any, c: Any, *, alpha: float, beta: float) -> Any:
    return alpha * jnp.matmul(a, jnp.swapaxes(a, -1, -2), precision="highest") + beta * c


@plugin.decomposition("cholesky_update")
def _cholesky_update(factor: Any, vector: Any) -> Any:
    """Rotations of each row and the vector that make the vector zero."""

    def row(k: Any, state: Any) -> Any:
        factor, vector = state
        head, tail = factor[k, k], vector[k]
        large = jnp.maximum(abs(head), abs(tail))
        head, tail = (jnp.where(tail == 0, plain, x / large) for plain, x in ((1, head), (0, tail)))
        scale = 1 / jnp.sqrt(head**2 + tail**2)
        cosine, sine = head * scale, tail * scale
        line = cosine * factor[k] + sine * vector
        return factor.at[k].set(line), cosine * vector - sine * factor[k]

    return lax.fori_loop(0, vector.shape[0], row, (factor, vector))[0]
