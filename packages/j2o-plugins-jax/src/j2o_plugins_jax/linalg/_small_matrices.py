"""Cholesky factors and triangular systems; of small matrices column by column, without a loop.

A turn of a loop takes rows and columns out of matrices and writes one back, which costs more than its arithmetic. Here
each column is an array of its own: a step computes one, and subtracts its products from those behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._plugin import plugin
from ._linear_algebra import cholesky_in_turns, conj, nan_unless, triangular_solve_in_turns

# Rows of a matrix up to which the steps are fewer nodes than a loop executes.
_SMALL = 8

_Groups = Sequence[Sequence[int] | np.ndarray[Any, Any]]


def _is_small(a: Any) -> bool:
    n = a.shape[-1]
    return isinstance(n, int) and 0 < n <= _SMALL


@plugin.decomposition("cholesky")
def _cholesky(a: Any) -> Any:
    return _small_cholesky(a) if _is_small(a) else cholesky_in_turns(a)


def _small_cholesky(a: Any) -> Any:
    """Above the diagonal a stays.

    Behind a root that is NaN or zero all others are NaN, so the last one tells whether the matrix is positive definite.
    """
    n = a.shape[-1]
    places = np.arange(n * n).reshape(n, n)
    lower, above = places.T[np.triu_indices(n)], places[np.triu_indices(n, 1)]
    flat = a.reshape(*a.shape[:-2], n * n)
    head, tail, rest, upper = _cut(flat, [lower[:1], lower[1:n], lower[n:], above], -1)
    pieces, groups = [upper], [above]
    for behind in range(n)[::-1]:
        root = jnp.sqrt(jnp.real(head)).astype(a.dtype)
        column = tail / root
        at, under, lower = np.split(lower, [1, 1 + behind])
        pieces, groups = [*pieces, root, column], [*groups, at, under]
        if behind:
            columns, rows = np.triu_indices(behind)
            rest = rest - _taken(column, rows, -1) * conj(_taken(column, columns, -1))
            head, tail, rest = _cut(rest, np.split(np.arange(len(rows)), [1, behind]), -1)
    return nan_unless(jnp.real(root) > 0, _joined(pieces, groups)).reshape(a.shape)


@plugin.decomposition("triangular_solve")
def _triangular_solve(
    a: Any, b: Any, *, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
) -> Any:
    """The matrix is on the left of the unknowns, or taken as transposed."""
    a, turned = conj(a) if conjugate_a else a, transpose_a == left_side
    solve = _small_triangular_solve if _is_small(a) else triangular_solve_in_turns
    return solve(a, b, left_side, turned, lower != turned, unit_diagonal)


def _small_triangular_solve(a: Any, b: Any, left_side: bool, turned: bool, lower: bool, unit_diagonal: bool) -> Any:
    """Each step divides the row of one unknown, or its column where the unknowns are on the left."""
    n, axis = a.shape[-1], -2 if left_side else -1
    places = np.arange(n * n).reshape(n, n)
    places = places.T if turned else places
    unknowns = np.arange(n) if lower else np.arange(n)[::-1]
    heads = [places[[k], k] for k in unknowns]
    tails = [places[np.sort(unknowns[turn + 1 :]), k] for turn, k in enumerate(unknowns)]
    flat = jnp.expand_dims(a.reshape(*a.shape[:-2], n * n), -3 - axis)
    factors = _cut(flat, tails if unit_diagonal else [*tails, *heads], axis)
    x = []
    for turn, behind in enumerate(range(n)[::-1]):
        head, rest = _cut(
            b, [range(1), range(1, behind + 1)] if lower else [range(behind, behind + 1), range(behind)], axis
        )
        x.append(head if unit_diagonal else head / factors[n + turn])
        b = rest - factors[turn] * x[-1]
    return jnp.concatenate(x if lower else x[::-1], axis=axis)


def _cut(x: Any, groups: _Groups, axis: int) -> list[Any]:
    """The elements at each group of places along an axis."""
    if not all(map(_is_run, groups)):
        x = _taken(x, np.concatenate(groups), axis)
        groups = np.split(np.arange(x.shape[axis]), np.cumsum([len(group) for group in groups])[:-1])
    starts = [group[0] if len(group) else 0 for group in groups]
    return [lax.slice_in_dim(x, s, s + len(group), axis=axis) for s, group in zip(starts, groups, strict=True)]


def _joined(pieces: Sequence[Any], groups: _Groups) -> Any:
    """Pieces of the last axis at groups of places: the opposite of `_cut`."""
    if not all(map(_is_run, groups)):
        return _taken(jnp.concatenate(pieces, axis=-1), np.argsort(np.concatenate(groups)), -1)
    order = sorted((index for index, group in enumerate(groups) if len(group)), key=lambda index: groups[index][0])
    return jnp.concatenate([pieces[index] for index in order], axis=-1)


def _is_run(group: Sequence[int] | np.ndarray[Any, Any]) -> bool:
    return bool((np.diff(group) == 1).all())


def _taken(x: Any, places: np.ndarray[Any, Any], axis: int) -> Any:
    return jnp.take(x, places, axis=axis, mode="clip")
