"""Schur's form and eigenvalues of any square matrix, compared through what does not depend on order and signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

from .matrices import TYPES, adjoint, matrix

SHAPES = [(0, 0), (1, 1), (2, 2), (7, 7), (2, 3, 4, 4)]


def _schur(a):
    form, vectors = lax.linalg.schur(a)
    below = jnp.tril(form, -1 if jnp.iscomplexobj(a) else -2)
    return vectors @ form @ adjoint(vectors), adjoint(vectors) @ vectors, below


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_schur(dtype, shape):
    check(_schur, matrix(dtype, *shape), opsets=(21,))


def _eig(a):
    """Residuals as a itself, lengths as 1; values in order."""
    values, left, right = lax.linalg.eig(a)
    lengths = jnp.linalg.norm(left, axis=-2), jnp.linalg.norm(right, axis=-2)
    over = a @ right - right * values[..., None, :] + a
    under = adjoint(a) @ left - left * jnp.conj(values)[..., None, :] + a
    return jnp.sort(values), over, under, lengths


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_eigenvalues_and_vectors(dtype, shape):
    check(_eig, matrix(dtype, *shape), opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_a_symbolic_size(dtype):
    args = [(matrix(dtype, n, n),) for n in (2, 5)]
    check(_eig, Spec(("N", "N"), dtype), args=args, constraints=["N >= 2"], opsets=(21,))


SPECIAL = {
    "rotation": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 2]]),
    "permutation": np.roll(np.eye(6), 1, 0),  # unmoved by steps with the usual shifts
    "defective": np.array([[2, 1, 0], [0, 2, 1], [0, 0, 2]]),
    "zero": np.zeros((4, 4)),
    "pairs": np.kron(np.eye(2), np.array([[1, 2], [-3, 1]])),
    "real block": np.array([[1, 2], [3, 2]]),
    "large": 1e25 * np.array([[1, 2, 3], [-2, 1, 4], [0, 1, -1]]),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_matrices(name):
    a = SPECIAL[name].astype(np.float32)
    check(_schur, a, opsets=(21,))
    if name != "large":  # where JAX on a CPU is wrong: LAPACK scales the matrix, but not its eigenvalues back
        check(lambda a: jnp.sort(jnp.linalg.eigvals(a)), a, opsets=(21,))
    form = np.asarray(to_onnx(lax.linalg.schur, [jax.ShapeDtypeStruct(a.shape, a.dtype)])(a)[0])
    for k in np.flatnonzero(np.diagonal(form, -1)):
        assert form[k, k] == form[k + 1, k + 1]
        assert np.sign(form[k, k + 1]) == -np.sign(form[k + 1, k])


@pytest.mark.slow
def test_what_is_not_a_number_has_no_eigenvalues():
    a = np.array([[1, np.nan], [0, 1]], np.float32)
    check(lax.linalg.eig, a, opsets=(21,))


@pytest.mark.slow
def test_wide_types():
    with jax.enable_x64(True):
        check(_eig, matrix(np.float64, 5, 5), opsets=(21,))
        check(_schur, matrix(np.complex128, 4, 4), opsets=(21,))


@pytest.mark.slow
def test_what_is_built_on_them():
    check(lambda c: jnp.sort(jnp.roots(c, strip_zeros=False)), np.array([1, -6, 11, -6], np.float32), opsets=(21,))
    # Without negative eigenvalues, whose roots may have either sign.
    check(jax.scipy.linalg.sqrtm, matrix(np.float32, 4, 4) + 4 * np.eye(4, dtype=np.float32), opsets=(21,))
    check(jax.grad(lambda a: jnp.sum(jnp.abs(jnp.linalg.eigvals(a)))), matrix(np.float32, 3, 3), opsets=(21,))


def test_sorted_schur_is_refused():
    with pytest.raises(UnsupportedError, match="sort_eig_vals"):
        to_onnx(lambda a: lax.linalg.schur(a, sort_eig_vals=True), [jax.ShapeDtypeStruct((3, 3), np.float32)])
