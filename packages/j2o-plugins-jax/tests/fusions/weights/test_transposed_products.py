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


def grouped_scores(q, k):
    return jnp.einsum("btghd,bsgd->bghts", q, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32])
@pytest.mark.parametrize("batch", [1, 2, "B"])
def test_scores_of_grouped_queries_are_not_moved(batch, dtype):
    """The keys are on the left of the product that einsum makes; what is transposed are queries and keys."""
    q, k = Spec((batch, 5, 2, 3, 4), dtype), Spec((batch, 6, 2, 4), dtype)
    program = check(lambda q, k: grouped_scores(q, k) + 1, q, k, opsets=(21,), sizes=(1, 3))
    operators = [node.op_type for node in program.model.graph if node.op_type in ("Transpose", "MatMul")]
    assert operators == ["Transpose", "Transpose", "MatMul"]


@pytest.mark.parametrize(
    "equation",
    [
        *("btghd,bsgd->bghts", "btghd,bsgd->bhgts", "btghd,bsgd->bgths", "btghd,bsgd->bgsht", "btghd,bsgd->gbhts"),
        *("btghd,bsgd->btghs", "btghd,bsgd->bghst", "btghd,sbgd->bghts", "bgdht,bsgd->bghts", "bgdht,bgsd->bgths"),
        *("bgtd,bsgd->bgts", "bgdt,bgsd->bgts", "gtd,sgd->gts", "gthd,sgd->hgts", "thd,sd->hts"),
    ],
)
def test_products_whose_result_has_any_order(equation):
    operands, _ = equation.split("->")
    sizes = {"b": 2, "t": 5, "g": 3, "h": 2, "d": 4, "s": 7}
    specs = [Spec([sizes[letter] for letter in operand]) for operand in operands.split(",")]
    check(lambda x, y: jnp.einsum(equation, x, y) + 1, *specs, opsets=(21,))


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("axis", range(5))
def test_scores_of_few_queries(axis, size):
    shape = [2, 5, 2, 3, 4]
    shape[axis] = size
    keys = [shape[0], 6, shape[2], shape[4]]
    check(lambda q, k: grouped_scores(q, k) + 1, Spec(shape), Spec(keys), opsets=(21,))


def columns_first(x, y):
    """Columns of a product in front of its rows."""
    return (x @ y).reshape(2, 5, 3, 2).transpose(0, 2, 3, 1)


NATURAL, SWAPPED = (Spec((2, 5, 4)), Spec((2, 4, 6))), (Spec((2, 5, 4)), Spec((2, 6, 4)))


@pytest.mark.parametrize(
    ("fn", "specs", "transposes"),
    [
        (columns_first, NATURAL, 1),
        (lambda x, y: columns_first(x, y.mT), SWAPPED, 1),
        (lambda x, y: columns_first(x, y.mT), (Spec((2, 5, 9)), Spec((2, 6, 9))), 2),
        (lambda x, y: (columns_first(x, y.mT), y.mT), SWAPPED, 2),
        (lambda x, y: (columns_first(x, y.mT), x @ y.mT), SWAPPED, 2),
        (lambda x, y: (x @ y.mT).reshape(2, 5, 3, 2).transpose(0, 2, 1, 3), SWAPPED, 2),
        (lambda x, y: (x @ y.mT).reshape(2, 5, 3, 2).transpose(2, 0, 3, 1), SWAPPED, 2),
    ],
    ids=["right side as it is", "moved", "much is added up", "read twice", "product twice", "rows between", "batch"],
)
def test_columns_in_front_where_that_moves_less(fn, specs, transposes):
    program = check(fn, *specs, opsets=(21,))
    assert [node.op_type for node in program.model.graph].count("Transpose") == transposes
