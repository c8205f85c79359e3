"""Eigenvalues and singular values are JAX's; vectors are compared through what does not depend on their sign."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx
from j2o_core.testing import Spec, check
from j2o_plugins_jax.linalg import _eigenvalues

from .matrices import TYPES, adjoint, matrix


def _spectrum(a):
    """The eigenvalues, and products of vectors that do not depend on their phases."""
    values, vectors = jnp.linalg.eigh(a)
    return values, (vectors * values[..., None, :]) @ adjoint(vectors), adjoint(vectors) @ vectors


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 5), (2, 6, 6)])
def test_symmetric_eigenvalues(dtype, shape):
    check(_spectrum, matrix(dtype, *shape), opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_symmetric_eigenvalues_of_a_symbolic_size(dtype):
    check(_spectrum, Spec(("B", "N", "N"), dtype), sizes=(1, 2, 5), opsets=(21,))


def test_equal_and_zero_eigenvalues():
    check(jnp.linalg.eigvalsh, np.diag([2, 2, 0, -1]).astype(np.float32), opsets=(21,))
    check(jnp.linalg.eigvalsh, np.ones((4, 4), np.float32), opsets=(21,))


def _factors(a, full_matrices):
    """The singular values, and products of vectors that do not depend on their phases."""
    u, s, v = jnp.linalg.svd(a, full_matrices=full_matrices)
    k = s.shape[-1]
    return s, (u[..., :k] * s[..., None, :]) @ v[..., :k, :], adjoint(u) @ u, v @ adjoint(v)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 6), (2, 7, 3)])
@pytest.mark.parametrize("full_matrices", [True, False])
def test_singular_values(dtype, shape, full_matrices):
    check(lambda a: _factors(a, full_matrices), matrix(dtype, *shape), opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize(
    ("shape", "constraint", "sizes"),
    [(("N", 7), "N <= 6", (1, 2, 5)), ((7, "N"), "N <= 6", (3, 6)), (("N", 3), "N >= 4", (4, 5))],
)
def test_singular_values_of_a_symbolic_side(dtype, shape, constraint, sizes):
    check(lambda a: _factors(a, True), Spec(shape, dtype), constraints=[constraint], sizes=sizes, opsets=(21,))


@pytest.mark.parametrize("size", [1e-30, 1e30])
@pytest.mark.parametrize("n", [4, 9])
def test_squares_out_of_range(size, n):
    a = matrix(np.float32, n, n) * np.float32(size)
    check(lambda a: jnp.linalg.eigvalsh(a + a.T), a, opsets=(21,), atol=1e-5 * size)
    check(lambda a: jnp.linalg.svd(a, compute_uv=False), a, opsets=(21,), atol=1e-5 * size)


@pytest.mark.parametrize(
    ("a", "sweeps"), [(np.eye(16), 0), (np.ones((16, 16)), 2), (np.arange(16) * np.ones((16, 1)), 8)]
)
def test_sweeps_end_at_what_rounding_leaves(a, sweeps, monkeypatch):
    counts = []

    def while_loop(cond, body, state):
        while cond(state):
            state = body(state)
        counts.append(int(state[0]))
        return state

    monkeypatch.setattr(jax.lax, "while_loop", while_loop)
    _eigenvalues._eigh_one(jnp.asarray(a, jnp.float32), True, True)
    assert counts[0] <= sweeps


def test_rank_deficient():
    a = matrix(np.float32, 5, 2) @ matrix(np.float32, 2, 4)

    def fn(a):
        u, _, v = jnp.linalg.svd(a)
        return u.T @ u, v @ v.T

    check(fn, a, opsets=(21,))
    check(jnp.linalg.matrix_rank, a, opsets=(21,))


def test_what_is_built_on_singular_values():
    a = matrix(np.float32, 4, 3)
    check(lambda a: (jnp.linalg.pinv(a), jnp.linalg.norm(a, 2), jnp.linalg.cond(a)), a, opsets=(21,))
    check(lambda a, b: jnp.linalg.lstsq(a, b)[0], a, a[:, 0], opsets=(21,))


def test_gradient_of_eigenvalues():
    check(jax.grad(lambda a: jnp.linalg.eigvalsh(a + a.T)[0]), matrix(np.float32, 4, 4), opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("fn", [jnp.linalg.eigh, jnp.linalg.svd])
def test_nan_is_in_all_results(fn, dtype):
    a = np.array([[1, np.nan, 0.2], [np.nan, 2, 0.1], [0.2, 0.1, 3]], dtype)
    results = to_onnx(fn, [a])(a)
    assert all(np.isnan(want).all() and np.isnan(got).all() for want, got in zip(fn(a), results, strict=True))
