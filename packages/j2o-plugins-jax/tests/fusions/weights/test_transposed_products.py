"""Products whose result is transposed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check


@pytest.mark.parametrize("batch", [("B",), ("B", "T")])
def test_a_matrix_that_is_an_input_times_many_vectors_transposes_the_matrix_alone(batch):
    fn = lambda x, w: w @ x  # noqa: E731
    for _ in batch:
        fn = jax.vmap(fn, (0, None))
    program = check(fn, Spec((*batch, 3)), Spec((8, 3)), opsets=(21,), sizes=(1, 3))
    assert [node.op_type for node in program.model.graph] == ["Transpose", "MatMul"]


def test_a_product_that_is_read_twice_stays():
    def fn(x, w):
        product = w @ x.T
        return product, product.T

    program = check(fn, Spec(("B", 3)), Spec((8, 3)), opsets=(21,), sizes=(1, 3))
    assert [node.op_type for node in program.model.graph].count("MatMul") == 1


def test_batches_of_products():
    check(lambda x, y: (x @ y.mT).mT, Spec(("B", 4, 3)), Spec(("B", 5, 3)), opsets=(21,), sizes=(1, 3))


CUBE, MATRIX = Spec((4, 4, 4)), Spec((4, 4))
KNOWN = np.arange(16, dtype=np.float32).reshape(4, 4)


@pytest.mark.parametrize(
    ("fn", "specs", "operators"),
    [
        (
            lambda x, y: (x.mT @ y.mT).transpose(1, 0, 2),
            (CUBE, CUBE),
            ["Transpose", "Transpose", "MatMul", "Transpose"],
        ),
        (lambda x: (KNOWN @ x.mT).mT, (CUBE,), ["Transpose", "MatMul", "Transpose"]),
        (lambda x, y: (x @ y).T, (MATRIX, MATRIX), ["MatMul", "Transpose"]),
        (lambda x, y: x.T @ y, (MATRIX, MATRIX), ["Transpose", "MatMul"]),
        (lambda x, y: x.transpose(2, 1, 0) @ y, (CUBE, Spec((4,))), ["Transpose", "MatMul"]),
    ],
    ids=["other axes", "one matrix for all", "no transposes in front", "a matrix", "first and last axes"],
)
def test_other_transposes_stay(fn, specs, operators):
    program = check(fn, *specs, opsets=(21,))
    assert [node.op_type for node in program.model.graph if node.op_type in ("MatMul", "Transpose")] == operators


@pytest.mark.parametrize("shape", [(4, 3), (4, 4), (2, 4, 3), ("B", 4, 3)])
def test_a_transposed_matrix_times_a_vector_has_the_vector_on_the_left(shape):
    program = check(lambda a, v: a.mT @ v, Spec(shape), Spec((4,)))
    assert [node.op_type for node in program.model.graph] == ["MatMul"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda a, v: (2 * a.mT) @ v,
        lambda a, v: jnp.exp(a.mT) @ v,
        lambda a, v: (a.mT @ v, a.mT),
        lambda a, v: a.mT.astype(jnp.float16).astype(jnp.float32) @ v,
        lambda a, v: a.transpose(1, 2, 0).sum(0) @ a[0, :, 0],
        jax.vmap(lambda a, v: a.mT @ v, (0, None)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32])
def test_what_stands_between_the_transpose_and_the_product_does_not_matter(fn, dtype):
    check(fn, Spec((4, 4, 4), dtype), Spec((4,), dtype))
