"""QR, with pivots too, Hessenberg and tridiagonal form: LAPACK's factors, real and complex, batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import check

from .matrices import TYPES, matrix


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 5), (2, 5, 3)])
@pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
def test_qr(dtype, shape, mode):
    check(lambda a: jnp.linalg.qr(a, mode=mode), matrix(dtype, *shape), opsets=(21,))


def test_householder_reflections():
    def fn(a):
        reflections, factors = jnp.linalg.qr(a, mode="raw")
        return factors, lax.linalg.householder_product(reflections.T, factors)

    check(fn, matrix(np.float32, 5, 3), opsets=(21,))
    check(jnp.linalg.qr, np.array([[3, 1], [0, 2]], np.float32), opsets=(21,))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 5), (2, 5, 3), (0, 3), (3, 0)])
@pytest.mark.parametrize("full_matrices", [True, False])
def test_qr_with_pivots(dtype, shape, full_matrices):
    check(lambda a: lax.linalg.qr(a, pivoting=True, full_matrices=full_matrices), matrix(dtype, *shape), opsets=(21,))


def test_pivots_of_equal_and_zero_columns():
    a = np.array([[1, 0, 2, 1], [1, 0, -2, 1], [0, 0, 0, 0]], np.float32)
    check(lambda a: lax.linalg.qr(a, pivoting=True)[2], np.eye(4, dtype=np.float32), opsets=(21,))
    check(lambda a: jnp.abs(jnp.diagonal(lax.linalg.qr(a, pivoting=True)[1])), a, opsets=(21,))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
def test_products_with_reflections(dtype, left, transpose):
    def fn(a, c):
        reflections, factors = jnp.linalg.qr(a, mode="raw")
        return lax.linalg.ormqr(reflections.T, factors, c, left=left, transpose=transpose)

    check(fn, matrix(dtype, 5, 3), matrix(dtype, 5, 5), opsets=(21,))


def test_products_with_a_pivoted_q():
    check(
        lambda a, c: jax.scipy.linalg.qr_multiply(a, c, pivoting=True),
        matrix(np.float32, 4, 4),
        matrix(np.float32, 4, 4),
        opsets=(21,),
    )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (6, 6), (2, 4, 4)])
def test_hessenberg(dtype, shape):
    check(lax.linalg.hessenberg, matrix(dtype, *shape), opsets=(21,))


def test_hessenberg_with_its_vectors():
    check(lambda a: jax.scipy.linalg.hessenberg(a, calc_q=True), matrix(np.complex64, 5, 5), opsets=(21,))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (6, 6), (2, 4, 4)])
@pytest.mark.parametrize("lower", [True, False])
def test_tridiagonal(dtype, shape, lower):
    a = matrix(dtype, *shape)
    check(lambda a: lax.linalg.tridiagonal(a, lower=lower), a + np.swapaxes(a.conj(), -1, -2), opsets=(21,))


def test_wide_types():
    with jax.enable_x64(True):
        check(lambda a: lax.linalg.qr(a, pivoting=True), matrix(np.complex128, 4, 3), opsets=(21,))
