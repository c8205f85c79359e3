"""Factorizations and solvers: the factors that JAX gives, real and complex, batched and mapped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

from .matrices import TYPES, matrix, positive


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (2, 3, 4, 4)])
def test_cholesky(dtype, shape):
    check(jnp.linalg.cholesky, positive(dtype, *shape), opsets=(21,))


def test_cholesky_of_what_is_not_positive_is_nan():
    check(jnp.linalg.cholesky, np.array([[1, 2], [2, 1]], np.float32))


@pytest.mark.parametrize("left_side", [True, False])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(
    ("dtype", "transpose_a", "conjugate_a", "unit_diagonal"),
    [
        (np.float32, False, False, False),
        (np.float32, True, False, True),
        (np.complex64, True, True, False),
        (np.complex64, False, True, True),
    ],
)
def test_triangular_solve(dtype, left_side, lower, transpose_a, conjugate_a, unit_diagonal):
    a = matrix(dtype, 2, 4, 4) + 3 * np.eye(4, dtype=dtype)
    b = matrix(dtype, 2, 4, 3) if left_side else matrix(dtype, 2, 3, 4)
    options = {"transpose_a": transpose_a, "conjugate_a": conjugate_a, "unit_diagonal": unit_diagonal}
    check(
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=left_side, lower=lower, **options), a, b, opsets=(21,)
    )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 5), (2, 5, 3)])
def test_lu(dtype, shape):
    check(lax.linalg.lu, matrix(dtype, *shape), opsets=(21,))


def test_lu_of_a_singular_matrix():
    check(lax.linalg.lu, np.array([[0, 0], [0, 1]], np.float32), opsets=(21,))


@pytest.mark.parametrize("dtype", TYPES)
def test_solve_inverse_determinant(dtype):
    a, b = matrix(dtype, 2, 4, 4), matrix(dtype, 2, 4, 3)
    check(jnp.linalg.solve, a, b, opsets=(21,))
    check(lambda a: (jnp.linalg.inv(a), jnp.linalg.det(a), jnp.linalg.slogdet(a)), a, opsets=(21,))


def test_constants_are_factorized_while_exporting():
    a = positive(np.float32, 4, 4)
    check(lambda b: jnp.linalg.inv(a) @ b, Spec((4,)), absent=["Loop", "Scan"])


def test_wide_types():
    with jax.enable_x64(True):
        check(
            lambda a, b: (jnp.linalg.cholesky(a), jnp.linalg.solve(a, b)),
            positive(np.float64, 4, 4),
            matrix(np.float64, 4),
            opsets=(21,),
        )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_tridiagonal_solve(dtype, batch, n):
    lower, diagonal, upper = (matrix(dtype, *batch, n) for _ in range(3))
    b = matrix(dtype, *batch, n, 2)
    check(lax.linalg.tridiagonal_solve, lower, diagonal + 4, upper, b, opsets=(21,))
    if n:
        # Rows change places where the diagonal is zero; with an odd number of rows nothing solves the system.
        check(lax.linalg.tridiagonal_solve, lower, 0 * diagonal, upper, b, opsets=(21,))


def test_perturbed_tridiagonal_solve_is_refused():
    specs = [jax.ShapeDtypeStruct((4,), np.float32)] * 3 + [jax.ShapeDtypeStruct((4, 1), np.float32)]
    with pytest.raises(UnsupportedError, match="Leave perturb_singular out"):
        to_onnx(lambda *args: lax.linalg.tridiagonal_solve(*args, perturb_singular=True), specs)


def test_updates_and_products():
    a, c = matrix(np.float32, 2, 3, 4), matrix(np.float32, 2, 3, 3)
    check(lambda a, c: lax.linalg.symmetric_product(a, c, alpha=2.0, beta=0.5), a, c, opsets=(21,))
    factor, vector = np.triu(matrix(np.float32, 4, 4)), np.array([1, 0, -2, 3], np.float32)
    check(lax.linalg.cholesky_update, factor, vector, opsets=(21,))


def test_large_factorizations_are_as_exact_as_lapack():
    """Badly conditioned: the last elements have few digits that are right, here and in LAPACK."""
    a = matrix(np.complex64, 200, 200)
    a = a @ a.conj().T
    exact = np.linalg.cholesky(a.astype(np.complex128))
    parts = to_onnx(jnp.linalg.cholesky, [jax.ShapeDtypeStruct(a.shape, a.dtype)])(a)
    ours = np.asarray(parts)[..., 0] + 1j * np.asarray(parts)[..., 1]
    lapack = np.abs(np.asarray(jnp.linalg.cholesky(a)) - exact).max()
    assert np.abs(ours - exact).max() <= 3 * lapack
    assert np.abs(ours @ ours.conj().T - a).max() <= 1e-6 * np.abs(a).max()


@pytest.mark.parametrize(
    ("fn", "most"),
    [
        (lambda a, b: (jnp.linalg.cholesky(a), jnp.linalg.solve(a, b)), 200),
        (lambda a, b: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a), b), 120),
        (jnp.linalg.solve, 150),
        (lambda a, b: jnp.linalg.inv(a) @ b, 150),
        (lambda a, b: jnp.linalg.lstsq(a, b)[0], 500),
        (lambda a, b: jnp.linalg.eigh(a), 230),
    ],
)
def test_graphs_stay_small(fn, most):
    """Loops, whatever the size."""
    program = to_onnx(fn, [jax.ShapeDtypeStruct((20, 20), np.float32), jax.ShapeDtypeStruct((20,), np.float32)])
    assert sum(1 for _ in program.model.graph.all_nodes()) < most


def test_gradients_and_vmap():
    a = positive(np.float32, 3, 3, 3)
    check(jax.vmap(jax.grad(lambda a: jnp.linalg.slogdet(a)[1])), a, opsets=(21,))
    check(jax.grad(lambda a: jnp.linalg.cholesky(a).sum()), a[0], opsets=(21,))
    check(jax.grad(lambda a, b: jnp.linalg.solve(a, b).sum(), argnums=(0, 1)), a[0], a[0, 0], opsets=(21,))


@pytest.mark.parametrize(
    "fn", [jnp.linalg.cholesky, jnp.linalg.eigh, jnp.linalg.inv, jnp.linalg.svd, jax.scipy.linalg.lu_factor]
)
def test_symbolic_numbers_of_matrices_without_elements(fn):
    check(fn, Spec(("B", 0, 0)), opsets=(21,), sizes=(1, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3, 0)])
@pytest.mark.parametrize("full_matrices", [True, False])
def test_singular_values_of_no_elements(shape, full_matrices, dtype):
    check(lambda a: jnp.linalg.svd(a, full_matrices=full_matrices), np.zeros(shape, dtype), opsets=(21,))
