"""Functions of `jax.numpy.linalg` and `jax.scipy.linalg` on top of factorizations, in graphs of a bounded size."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
import pytest

from j2o_core.testing import check

# The function of a square matrix without negative eigenvalues and a vector, and how many nodes its graph may have.
FUNCTIONS = {
    "expm": (lambda a, b: jsl.expm(a), 450),
    "expm_frechet": (lambda a, b: jsl.expm_frechet(a, a.T), 900),
    "sqrtm": (lambda a, b: jsl.sqrtm(a), 1500),
    "polar": (lambda a, b: jsl.polar(a), 500),
    "det": (lambda a, b: jnp.linalg.det(a), 130),
    "slogdet": (lambda a, b: jnp.linalg.slogdet(a), 130),
    "inv": (lambda a, b: jnp.linalg.inv(a), 150),
    "pinv": (lambda a, b: jnp.linalg.pinv(a[:, :2]), 480),
    "lstsq": (lambda a, b: jnp.linalg.lstsq(a[:, :2], b), 600),
    "lu_solve": (lambda a, b: jsl.lu_solve(jsl.lu_factor(a), b, trans=1), 180),
    "lu": (lambda a, b: jsl.lu(a), 120),
    "solve": (lambda a, b: jsl.solve(a, b), 150),
    "cho_solve": (lambda a, b: jsl.cho_solve(jsl.cho_factor(a @ a.T), b), 130),
    "solve_triangular": (lambda a, b: jsl.solve_triangular(a, b, trans=1), 60),
    "svdvals": (lambda a, b: jsl.svd(a, compute_uv=False), 420),
    "cond": (lambda a, b: (jnp.linalg.cond(a), jnp.linalg.norm(a, 2), jnp.linalg.matrix_rank(a)), 850),
    "matrix_power": (lambda a, b: (jnp.linalg.matrix_power(a, 5), jnp.linalg.matrix_power(a, -2)), 170),
    "multi_dot": (lambda a, b: jnp.linalg.multi_dot([a, a, b]), 10),
    "toeplitz": (lambda a, b: jsl.toeplitz(b, a[0]), 30),
    "block_diag": (lambda a, b: jsl.block_diag(a, b), 20),
    "hessenberg": (lambda a, b: jsl.hessenberg(a, calc_q=True), 250),
    "rsf2csf": (lambda a, b: jsl.rsf2csf(jnp.triu(a), jnp.eye(4)), 2000),
    "eigh_tridiagonal": (lambda a, b: jsl.eigh_tridiagonal(b, b[1:], eigvals_only=True), 900),
    "cross": (lambda a, b: (jnp.linalg.cross(a[:, :3], a[:, 1:]), jnp.linalg.vector_norm(a), jnp.trace(a)), 60),
}


def _operands(n):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, n)) + n * np.eye(n)
    return a.astype(np.float32), rng.standard_normal(n).astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_a_matrix(name):
    fn, most = FUNCTIONS[name]
    program = check(fn, *_operands(4), opsets=(21,))
    assert sum(1 for _ in program.model.graph.all_nodes()) < most


@pytest.mark.parametrize("name", ["expm", "det", "inv", "polar"])
def test_batches(name):
    fn, _ = FUNCTIONS[name]
    a, b = _operands(3)
    check(jax.vmap(lambda a: fn(a, b)), np.stack([a, 2 * a.T]), opsets=(21,))
