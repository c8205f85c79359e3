"""`jax.experimental.sparse`: its primitives are JAX code, by which JAX compiles them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

from j2o_core.testing import Spec, check

DENSE = np.array([[1.0, 0, 0, 2], [0, 3, 0, 0]], np.float32)
BCOO = sparse.BCOO.fromdense(DENSE)
BCSR = sparse.BCSR.fromdense(DENSE)
COO = sparse.COO.fromdense(DENSE)
CSR = sparse.CSR.fromdense(DENSE)

OPERATIONS = {
    "BCOO @ x": lambda x: BCOO @ x,
    "x @ BCOO": lambda x: x.T @ BCOO.T,
    "BCOO @ BCOO": lambda x: (BCOO @ BCOO.T).todense() + x[:2, :2],
    "BCSR @ x": lambda x: BCSR @ x,
    "COO @ x": lambda x: COO @ x,
    "CSR @ x": lambda x: CSR @ x,
    "todense": lambda x: BCOO.todense() + BCSR.todense() + x[:2, :1],
    "fromdense": lambda x: sparse.BCOO.fromdense(x, nse=12).data,
    "sparsify": lambda x: sparse.sparsify(lambda a, x: jnp.tanh(a @ x))(BCOO, x),
    "sum": lambda x: BCOO.sum() + x,
    "scaled": lambda x: (BCOO * x[0, 0]).data,
    "transpose": lambda x: (BCOO * x[0, 0]).T.todense(),
    "duplicates": lambda x: (
        sparse.BCOO((x[:, 0], jnp.array([[0], [1], [0], [3]])), shape=(5,)).sum_duplicates(nse=3).todense()
    ),
    "gradient": jax.grad(lambda x: jnp.sin(BCOO @ x).sum()),
    "vmap": jax.vmap(lambda v: BCOO @ v, in_axes=1),
}


@pytest.mark.parametrize("fn", OPERATIONS.values(), ids=OPERATIONS)
def test_operations(fn):
    check(fn, Spec((4, 3)), opsets=(21,))


@pytest.mark.parametrize("kind", [sparse.BCOO, sparse.BCSR, sparse.COO, sparse.CSR])
def test_a_matrix_as_an_argument(kind):
    program = check(lambda matrix, x: matrix @ x, kind.fromdense(DENSE), jnp.ones((4, 3)), opsets=(21,))
    assert len(program.input_names) == (3 if kind is sparse.BCOO else 4)
    twice = kind.fromdense(DENSE * 2)
    np.testing.assert_allclose(program(twice, np.eye(4, 3)), DENSE[:, :3] * 2)


def test_any_number_of_columns():
    check(lambda x: BCOO @ x, Spec((4, "N")), opsets=(21,))
