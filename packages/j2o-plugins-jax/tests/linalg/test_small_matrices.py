"""Cholesky factors and triangular systems of a few rows: no loop, and LAPACK's numbers at the edges."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import Spec, check

from .matrices import TYPES, matrix, positive

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_cholesky_without_a_loop(dtype, n):
    check(jnp.linalg.cholesky, positive(dtype, n, n), absent=["Scan", "Loop"], opsets=(21,))
    check(jnp.linalg.cholesky, positive(dtype, 3, n, n), absent=["Scan", "Loop"], opsets=(21,))


@pytest.mark.parametrize("n", [9, 40])
def test_larger_ones_take_turns(n):
    check(jnp.linalg.cholesky, positive(np.float32, n, n), contains=["Scan"], opsets=(21,))
    a = np.tril(matrix(np.float32, n, n)) / n + np.eye(n, dtype=np.float32)
    check(lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True), a, a, contains=["Scan"])


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("number", [0.0, -0.0, -1.0, 1e-38, 1e38, INF, -INF])
def test_numbers_on_and_below_the_diagonal(row, number):
    """Not positive definite, not finite, or with roots that are tiny: of three matrices one is changed."""
    for column in range(row + 1):
        a = positive(np.float32, 3, 3, 3)
        a[1, row, column] = a[1, column, row] = number
        check(jnp.linalg.cholesky, a, opsets=(21,))


@pytest.mark.parametrize("place", [(0, 0), (1, 0), (2, 1), (2, 2)])
def test_nan_makes_the_factor_nan(place):
    """OpenBLAS does not test for it, and gives the columns in front of it."""
    a = positive(np.float32, 3, 3)
    a[place] = NAN
    factor = np.asarray(to_onnx(lambda a: lax.linalg.cholesky(a, symmetrize_input=False), [a])(a))
    assert np.isnan(factor[np.tril_indices(3)]).all()
    assert (factor[np.triu_indices(3, 1)] == 0).all()


def test_the_upper_triangle_is_not_read():
    a = positive(np.float32, 3, 3)
    a[np.triu_indices(3, 1)] = NAN
    check(lambda a: lax.linalg.cholesky(a, symmetrize_input=False), a, opsets=(21,))


def _triangular(options):
    left_side, lower, transpose_a, unit_diagonal = options
    return lambda a, b: lax.linalg.triangular_solve(
        a, b, left_side=left_side, lower=lower, transpose_a=transpose_a, unit_diagonal=unit_diagonal
    )


CASES = list(itertools.product([True, False], repeat=4))


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_triangular_systems_without_a_loop(options, dtype, n):
    left_side, lower, _, unit_diagonal = options
    a = matrix(dtype, 2, n, n) + 3 * np.eye(n, dtype=dtype)
    a[:, *(np.triu_indices(n, 1) if lower else np.tril_indices(n, -1))] = NAN  # these are not read
    if unit_diagonal:
        a[:, *np.diag_indices(n)] = NAN
    b = matrix(dtype, 2, n, 3) if left_side else matrix(dtype, 2, 3, n)
    check(_triangular(options), a, b, absent=["Scan", "Loop"], opsets=(21,))
    check(_triangular(options), a[0], b[0], absent=["Scan", "Loop"], opsets=(21,))


@pytest.mark.parametrize("number", [0.0, -0.0, NAN, INF, -INF, 1e-30])
def test_a_diagonal_that_is_zero_or_not_finite(number):
    a = matrix(np.float32, 2, 3, 3)
    a[1, 1, 1] = number
    for options in CASES:
        check(_triangular(options), a, np.abs(matrix(np.float32, 2, 3, 3)) + 1, opsets=(21,))


def test_symbolic_numbers_of_matrices_and_of_right_sides():
    options = (True, True, False, False)
    a = positive(np.float32, 3, 3, 3)
    check(jnp.linalg.cholesky, Spec(("B", 3, 3)), args=[(a,), (a[:1],)], opsets=(21,))
    check(_triangular(options), Spec(("B", 3, 3)), Spec(("B", 3, "M")), sizes=(1, 3), opsets=(21,))


@pytest.mark.parametrize(("n", "most"), [(2, 30), (3, 48), (4, 64)])
def test_a_system_of_few_equations_is_few_nodes(n, most):
    def solve(a, b):
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a, lower=True), b)

    program = to_onnx(solve, [jax.ShapeDtypeStruct((n, n), np.float32), jax.ShapeDtypeStruct((n,), np.float32)])
    assert sum(1 for _ in program.model.graph.all_nodes()) < most


def test_elements_of_triangles_are_taken_from_the_matrix():
    def fn(a):
        lower, upper = jnp.tril(a), jnp.triu(jnp.triu(a, 1), -1)
        return lower[2], lower[:1], lower.reshape(9)[6:8], jnp.diagonal(lower), lower.T[:, 1:], upper, upper[-1]

    a = np.array([[NAN, INF, -INF], [-0.0, 1, NAN], [INF, -1, -0.0]], np.float32)
    check(fn, a, args=[(a,), (a.T,)], opsets=(21,))


def test_gradients():
    a, b = positive(np.float32, 3, 3), matrix(np.float32, 3, 2)
    check(jax.grad(lambda a: jnp.linalg.cholesky(a).sum()), a, opsets=(21,))
    solve = _triangular((True, True, False, False))
    check(jax.grad(lambda a, b: (solve(a, b) ** 2).sum(), argnums=(0, 1)), a, b, opsets=(21,))
