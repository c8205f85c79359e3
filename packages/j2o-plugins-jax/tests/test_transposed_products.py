"""Products whose result is transposed."""

import jax
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

    check(fn, Spec(("B", 3)), Spec((8, 3)), opsets=(21,), sizes=(1, 3))


def test_batches_of_products():
    check(lambda x, y: (x @ y.mT).mT, Spec(("B", 4, 3)), Spec(("B", 5, 3)), opsets=(21,), sizes=(1, 3))
