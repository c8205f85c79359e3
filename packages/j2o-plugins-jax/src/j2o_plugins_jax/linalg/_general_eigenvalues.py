"""Eigenvalues and eigenvectors of any square matrix, from Schur's form.

Vectors have length 1 and a largest element that is real, as LAPACK has them; its order of eigenvalues, and its sign of
the real vectors of real matrices, are an accident of its steps.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from .._plugin import plugin
from ._linear_algebra import conj, line, nan_unless
from ._schur import one_by_one, schur_one, turned


@plugin.decomposition("eig", ignores=("enable_eigvec_derivs", "implementation"))
def _eig(a: Any, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool) -> Any:
    return one_by_one(lambda a: _eig_one(a, compute_left_eigenvectors, compute_right_eigenvectors), a)


def _eig_one(a: Any, left: bool, right: bool) -> tuple[Any, ...]:
    n = a.shape[0]
    form, basis = schur_one(a)
    if jnp.iscomplexobj(a):
        values, paired = jnp.diagonal(form), jnp.zeros((n,), bool)
    else:
        values = _values_of_blocks(form)
        paired = jnp.imag(values) < 0
        if left or right:
            form, basis = _triangular(form, basis, values)
    results = [values]
    if left:
        # Of T^H, turned around so that it is triangular as T is.
        vectors = conj(_triangular_vectors(form.T[::-1, ::-1])[::-1, ::-1])
        results.append(_normalized(basis @ vectors, values, paired, real=not jnp.iscomplexobj(a)))
    if right:
        vectors = _triangular_vectors(form)
        results.append(_normalized(basis @ vectors, values, paired, real=not jnp.iscomplexobj(a)))
    return tuple(results)


def _values_of_blocks(form: Any) -> Any:
    """The eigenvalues a + i sqrt(-b c) and a - i sqrt(-b c) for blocks [[a, b], [c, a]] of a real form."""
    below, above = jnp.diagonal(form, -1), jnp.diagonal(form, 1)
    imaginary = jnp.sqrt(jnp.abs(below)) * jnp.sqrt(jnp.abs(above)) * (below != 0)
    nothing = jnp.zeros((1,), form.dtype)
    first, second = (jnp.concatenate(x)[: form.shape[0]] for x in ((imaginary, nothing), (nothing, imaginary)))
    return lax.complex(jnp.diagonal(form), first - second)


def _triangular(form: Any, basis: Any, values: Any) -> tuple[Any, Any]:
    """The triangular complex form of a real one: each block of two turned by one of its eigenvectors."""
    n = form.shape[0]
    if n < 2:
        return form.astype(values.dtype), basis.astype(values.dtype)
    coupled = jnp.diagonal(form, -1) != 0

    def turn(k: Any, both: Any) -> Any:
        difference, below = values[k] - both[k + 1, k + 1], both[k + 1, k]
        size = jnp.hypot(jnp.abs(difference), jnp.abs(below))
        safe = jnp.where(coupled[k], size, 1)
        x, y = difference / safe, below / safe
        matrix = jnp.stack([jnp.stack([conj(x), y]), jnp.stack([-y, x])])
        return jnp.where(coupled[k], turned(both, k, matrix), both)

    both = lax.fori_loop(0, n - 1, turn, jnp.concatenate([form, basis]).astype(values.dtype))
    return jnp.triu(both[:n]), both[n:]


def _triangular_vectors(form: Any) -> Any:
    """Eigenvectors of a triangular matrix as columns, all at once from the last row to the first."""
    n = form.shape[0]
    values = jnp.diagonal(form)
    columns = jnp.arange(n)
    # Equal eigenvalues are separated by the smallest difference that counts.
    smallest = jnp.maximum(jnp.finfo(form.dtype).eps * jnp.max(jnp.abs(form), initial=0), jnp.finfo(form.dtype).tiny)

    def row(step: Any, vectors: Any) -> Any:
        i = n - 1 - step
        gap = form[i, i] - values
        gap = jnp.where(jnp.abs(gap) < smallest, smallest, gap)
        # Rows from i upwards are still zero.
        found = jnp.where(columns > i, -(form[i] @ vectors) / gap, jnp.where(columns == i, 1, 0)).astype(form.dtype)
        # Nothing grows beyond 1, so nothing overflows.
        return vectors.at[i].set(found) / jnp.maximum(jnp.abs(found), 1)

    return lax.fori_loop(0, n, row, jnp.zeros_like(form)) if n else form


def _normalized(vectors: Any, values: Any, paired: Any, *, real: bool) -> Any:
    """Of length 1, with a largest element that is real; real where the eigenvalue is, conjugate where that is."""
    n = vectors.shape[0]
    if not n:
        return vectors
    size = jnp.abs(vectors)
    largest = jnp.argmax(size, 0)
    head = jnp.take_along_axis(vectors, largest[None], 0)
    vectors = vectors * (conj(head) / jnp.abs(head))
    vectors = vectors / jnp.sqrt(jnp.sum(size * size, 0))
    here = jnp.arange(n)[:, None] == largest
    exact = here | (jnp.imag(values) == 0) if real else here
    vectors = jnp.where(exact, jnp.real(vectors), vectors)
    vectors = jnp.where(paired, conj(vectors[:, (line(n) - 1).clip(0)]), vectors)
    return nan_unless(~jnp.isnan(values), vectors)
