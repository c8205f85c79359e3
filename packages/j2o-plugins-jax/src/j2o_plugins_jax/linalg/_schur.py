"""Schur's form by the QR algorithm with implicit shifts: single ones for complex matrices, double ones for real ones.

After Francis (The QR transformation, 1961) as in Golub and Van Loan, Matrix computations, chapter 7. The form is what
the decomposition determines: the order of the eigenvalues and the signs of the vectors need not be LAPACK's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from j2o_core import UnsupportedError

from .._plugin import plugin
from ._householder import hessenberg, householder_product
from ._linear_algebra import conj, nan_unless

# Steps for each eigenvalue, mostly two or three; LAPACK's bound. Every tenth step in vain takes an unusual shift.
_STEPS, _UNUSUAL = 30, 10


@plugin.decomposition("schur", ignores=("select_callable",))
def _schur(a: Any, *, compute_schur_vectors: bool, sort_eig_vals: bool) -> Any:
    if sort_eig_vals:
        raise UnsupportedError(
            "schur(sort_eig_vals=True) has no ONNX form (JAX has none on a CPU). Leave sort_eig_vals out."
        )
    form, vectors = one_by_one(schur_one, a)
    return (form, vectors) if compute_schur_vectors else (form,)


def one_by_one(fn: Callable[[Any], Any], a: Any) -> Any:
    """`fn` of each matrix. In turn, not mapped: each one takes as many steps as it needs."""
    if a.ndim == 2:
        return fn(a)
    results = lax.map(fn, jnp.reshape(a, (-1, *a.shape[-2:])) if a.ndim > 3 else a)
    return tuple(jnp.reshape(x, (*a.shape[:-2], *x.shape[1:])) for x in results)


def schur_one(a: Any) -> tuple[Any, Any]:
    """T and Z with a = Z T Z^H: T is triangular, with blocks of two on the diagonal of a real one."""
    n = a.shape[0]
    if n < 2:
        return a, jnp.ones_like(a)
    # Squares of elements neither overflow nor vanish.
    largest = jnp.max(jnp.abs(a))
    scale = jnp.where((largest > 1e15) | ((largest < 1e-15) & (largest > 0)), largest, 1)
    a = a / scale
    packed, taus = hessenberg(a)
    form = jnp.triu(packed, -1)
    vectors = jnp.eye(n, dtype=a.dtype).at[1:, 1:].set(householder_product(packed[1:, :-1], taus))
    iterate = _single_shifts if jnp.iscomplexobj(a) else _double_shifts
    form, vectors, done = iterate(form, vectors, _STEPS * n * jnp.isfinite(largest))
    done &= jnp.isfinite(largest)
    return nan_unless(done, form * scale), nan_unless(done, vectors)


def _deflated(form: Any) -> tuple[Any, Any]:
    """The form with zeros for what is as good as zero below the diagonal, and where there is something else."""
    n = form.shape[0]
    size = jnp.abs(jnp.diagonal(form))
    around = size[:-1] + size[1:]
    around = jnp.where(around == 0, jnp.max(jnp.abs(form)), around)
    coupled = jnp.abs(jnp.diagonal(form, -1)) > jnp.finfo(form.dtype).eps * around
    below = jnp.zeros((n, n), bool).at[1:, :-1].set(jnp.diag(coupled))
    return jnp.where(below, form, jnp.triu(form)), coupled


def _start(coupled: Any, end: Any) -> Any:
    """Where the block begins that ends at `end`: behind the last place before it where nothing is coupled."""
    places = jnp.arange(coupled.shape[0])
    return jnp.max(jnp.where(~coupled & (places < end), places + 1, 0))


def _last(which: Any) -> Any:
    """The last place where something is true; -1 if there is none."""
    return jnp.max(jnp.where(which, jnp.arange(which.shape[0]), -1))


def turned(both: Any, k: Any, matrix: Any) -> Any:
    """A unitary matrix applied to rows from k on, its adjoint to columns of the form and of the vectors below it."""
    size, n = matrix.shape[0], both.shape[1]
    rows = lax.dynamic_slice(both, (k, 0), (size, n))
    both = lax.dynamic_update_slice(both, matrix @ rows, (k, 0))
    columns = lax.dynamic_slice(both, (0, k), (both.shape[0], size))
    return lax.dynamic_update_slice(both, columns @ conj(matrix).T, (0, k))


def _rotation(x: Any, y: Any) -> Any:
    """The unitary matrix that makes (x, y) a multiple of (1, 0)."""
    size = jnp.hypot(jnp.abs(x), jnp.abs(y))
    safe = jnp.where(size == 0, 1, size)
    # For (0, 0) the identity.
    x, y = jnp.where(size == 0, 1, x / safe), y / safe
    return jnp.stack([jnp.stack([conj(x), conj(y)]), jnp.stack([-y, x])])


def _single_shifts(form: Any, vectors: Any, limit: Any) -> tuple[Any, Any, Any]:
    n = form.shape[0]

    def unfinished(state: Any) -> Any:
        count, _, coupled = state
        return coupled.any() & (count < limit)

    def step(state: Any) -> Any:
        count, both, coupled = state
        end = _last(coupled) + 1
        start = _start(coupled, end)
        # The eigenvalue of the last block of two that is nearer to its last element.
        (a, b), (c, d) = lax.dynamic_slice(both, (end - 1, end - 1), (2, 2))
        half = (a - d) / 2
        root = jnp.sqrt(half * half + b * c)
        far = jnp.where(jnp.abs(half + root) > jnp.abs(half - root), half + root, half - root)
        shift = d - jnp.where(far == 0, 0, b * c / jnp.where(far == 0, 1, far))
        shift = jnp.where(count % _UNUSUAL == _UNUSUAL - 1, d + jnp.abs(c), shift)

        def chase(k: Any, both: Any) -> Any:
            before = both[:, jnp.maximum(k - 1, 0)]
            first = k == start
            x = jnp.where(first, both[k, k] - shift, before[k])
            y = jnp.where(first, both[k + 1, k], before[k + 1])
            return turned(both, k, _rotation(x, y))

        both = lax.fori_loop(start, end, chase, both)
        form, coupled = _deflated(both[:n])
        return count + 1, jnp.concatenate([form, both[n:]]), coupled

    form, coupled = _deflated(form)
    state = jnp.zeros((), np.int32), jnp.concatenate([form, vectors]), coupled
    _, both, coupled = lax.while_loop(unfinished, step, state)
    return jnp.triu(both[:n]), both[n:], ~coupled.any()


def _double_shifts(form: Any, vectors: Any, limit: Any) -> tuple[Any, Any, Any]:
    n = form.shape[0]

    def in_blocks_of_three(coupled: Any) -> Any:
        return coupled & jnp.concatenate([jnp.zeros((1,), bool), coupled[:-1]])

    def unfinished(state: Any) -> Any:
        count, _, coupled = state
        return in_blocks_of_three(coupled).any() & (count < limit)

    def step(state: Any) -> Any:
        count, both, coupled = state
        end = _last(in_blocks_of_three(coupled)) + 1
        start = _start(coupled, end)
        # Both eigenvalues of the last block of two, by their sum and product.
        (a, b), (c, d) = lax.dynamic_slice(both, (end - 1, end - 1), (2, 2))
        unusual = count % _UNUSUAL == _UNUSUAL - 1
        size = jnp.abs(c) + jnp.abs(both[end - 1, end - 2])
        total = jnp.where(unusual, 1.5 * size, a + d)
        product = jnp.where(unusual, size * size, a * d - b * c)
        # The first column of (H - shift)(H - other shift).
        head = lax.dynamic_slice(both, (start, start), (3, 3))
        first = jnp.stack(
            [
                head[0, 0] * (head[0, 0] - total) + head[0, 1] * head[1, 0] + product,
                head[1, 0] * (head[0, 0] + head[1, 1] - total),
                head[1, 0] * head[2, 1],
            ]
        )

        def chase(k: Any, both: Any) -> Any:
            before = lax.dynamic_slice(both, (k, jnp.maximum(k - 1, 0)), (3, 1))[:, 0]
            x = jnp.where(k == start, first, before)
            x = jnp.where(jnp.array([False, False, True]) & (k == end - 1), 0, x)
            # The reflection that makes x a multiple of (1, 0, 0); of what is so already, the identity.
            length = jnp.max(jnp.abs(x))
            x = x / jnp.where(length == 0, 1, length)
            vector = x.at[0].add(jnp.where(x[0] >= 0, 1, -1) * jnp.sqrt(jnp.sum(x * x)))
            squared = jnp.sum(vector * vector)
            factor = jnp.where(squared == 0, 0, 2 / jnp.where(squared == 0, 1, squared))
            return turned(both, k, jnp.eye(3, dtype=x.dtype) - factor * vector[:, None] * vector[None])

        both = lax.fori_loop(start, end, chase, both)
        form, coupled = _deflated(both[:n, :n])
        return count + 1, both.at[:n, :n].set(form), coupled

    def standard(k: Any, both: Any) -> Any:
        (a, b), (c, d) = lax.dynamic_slice(both, (k, k), (2, 2))
        matrix, equal = _standard_form(a, b, c, d)
        after = turned(both, k, matrix)
        middle = (after[k, k] + after[k + 1, k + 1]) / 2
        block = lax.dynamic_slice(after, (k, k), (2, 2))
        exact = jnp.where(equal, jnp.where(jnp.eye(2, dtype=bool), middle, block), jnp.triu(block))
        return jnp.where(coupled[k], lax.dynamic_update_slice(after, exact, (k, k)), both)

    form, coupled = _deflated(form)
    # Three rows and columns can always be taken, the last of which are not changed where there are only two.
    both = jnp.pad(jnp.concatenate([form, vectors]), ((0, 0), (0, 1)))
    _, both, coupled = lax.while_loop(unfinished, step, (jnp.zeros((), np.int32), both, coupled))
    done = ~in_blocks_of_three(coupled).any()
    both = lax.fori_loop(0, n - 1, standard, both)
    return jnp.triu(both[:n, :n], -1), both[n:, :n], done


def _standard_form(a: Any, b: Any, c: Any, d: Any) -> tuple[Any, Any]:
    """The rotation that makes a block of two triangular, or else its diagonal elements equal, and which of both."""
    half = (a - d) / 2
    inside = half * half + b * c
    far = half + jnp.where(half >= 0, 1, -1) * jnp.sqrt(jnp.maximum(inside, 0))
    triangular = _rotation(far, c)
    total = b + c
    length = jnp.hypot(total, a - d)
    safe = jnp.where(length == 0, 1, length)
    cosine = jnp.sqrt((1 + jnp.abs(total) / safe) / 2)
    sine = -(half / (safe * cosine)) * jnp.where(total >= 0, 1, -1)
    equal = jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])
    equal = jnp.where(length == 0, jnp.eye(2, dtype=equal.dtype), equal)
    return jnp.where(inside >= 0, triangular, equal), inside < 0
