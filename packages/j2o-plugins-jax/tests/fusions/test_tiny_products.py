"""Many products of tiny matrices are elementwise; few of them, and those of larger ones, stay products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

TINY = {
    "outer": ("bi,bj->bij", (64, 3), (64, 5)),
    "outer of two axes": ("abi,abj->abij", (8, 8, 4), (8, 8, 4)),
    "outer of some batches": ("ai,abj->abij", (8, 3), (8, 4, 3)),
    "outer of symbolic batches": ("bi,bj->bij", ("B", 3), ("B", 3)),
    "scale": ("bc,bci->bci", (8, 256), (8, 256, 3)),
    "dot": ("bi,bi->b", (64, 3), (64, 3)),
    "dot of long vectors": ("bi,bi->b", (8, 500), (8, 500)),
    "dot of symbolic batches": ("bi,bi->b", ("B", 3), ("B", 3)),
    "matrix and vector": ("bij,bj->bi", (64, 3, 3), (64, 3)),
    "vector and matrix": ("bj,bij->bi", (64, 8), (64, 8, 8)),
    "of symbolic batches": ("bij,bj->bi", ("B", 3, 4), ("B", 4)),
    "vector and columns": ("bj,bjk->bk", (64, 3), (64, 3, 3)),
    "matrices": ("bij,bjk->bik", (64, 3, 3), (64, 3, 3)),
    "matrices of two axes": ("abij,abjk->abik", (4, 8, 2, 4), (4, 8, 4, 3)),
    "matrices of symbolic batches": ("bij,bkj->bik", ("B", 3, 3), ("B", 3, 3)),
    "matrices of two symbolic axes": ("abij,abjk->abik", ("A", "B", 2, 2), ("A", "B", 2, 2)),
}
# A product of all rows with ones.
SHORT_SUMS = {
    "dot": (np.float32, np.float64),
    "dot of symbolic batches": (np.float32, np.float64),
    "matrix and vector": (np.float64,),
    "of symbolic batches": (np.float64,),
}
PRODUCTS = {
    "one": ("bi,bi->b", (1, 64), (1, 64)),
    "few": ("bi,bj->bij", (2, 3), (2, 3)),
    "few matrices": ("bij,bj->bi", (8, 3, 3), (8, 3)),
    "large outer": (
        "bi,bj->bij",
        (
            64,
            16,
        ),
        (64, 16),
    ),
    "large matrix": ("bij,bj->bi", (64, 9, 9), (64, 9)),
    "few small matrices": ("bij,bjk->bik", (16, 3, 3), (16, 3, 3)),
    "large matrices": ("bij,bjk->bik", (64, 6, 6), (64, 6, 6)),
    "one matrix for all": ("ij,bjk->bik", (3, 3), (64, 3, 3)),
    "a weight": ("bi,ij->bj", (64, 3), (3, 3)),
    "symbolic rows": ("bi,bj->bij", (64, "N"), (64, 3)),
    "symbolic columns": ("bij,bj->bi", (64, "N", 3), (64, 3)),
    "symbolic vectors": ("bi,bi->b", (64, "N"), (64, "N")),
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("x64")
def test_tiny_products_are_elementwise(name, dtype):
    subscripts, *shapes = TINY[name]
    specs = [Spec(shape, dtype) for shape in shapes]
    program = check(lambda x, y: jnp.einsum(subscripts, x, y), *specs, contains=["Mul"])
    products = [node for node in program.model.graph if node.op_type == "MatMul"]
    assert len(products) == (dtype in SHORT_SUMS.get(name, ()))
    assert all(node.inputs[1].is_initializer() for node in products)


@pytest.mark.parametrize("name", PRODUCTS)
def test_others_are_products(name):
    subscripts, *shapes = PRODUCTS[name]
    check(lambda x, y: jnp.einsum(subscripts, x, y), *map(Spec, shapes), opsets=(21,), contains=["MatMul"])


@pytest.mark.parametrize("shapes", [((64, 2, 3), (1, 3, 1)), ((2, 3), (64, 3, 1))], ids=["vector", "matrix"])
def test_one_operand_for_all_pairs_stays_a_product(shapes):
    check(jnp.matmul, *map(Spec, shapes), opsets=(21,), contains=["MatMul"])


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
@pytest.mark.parametrize("name", ["dot", "matrix and vector", "matrices"])
def test_products_of_other_types_stay(name, dtype):
    subscripts, *shapes = TINY[name]
    specs = [Spec(shape, dtype) for shape in shapes]
    check(lambda x, y: jnp.einsum(subscripts, x, y), *specs, opsets=(21,), contains=["MatMul"])


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.int64, np.uint8, jnp.bfloat16, np.complex64, np.bool_])
@pytest.mark.parametrize("name", ["outer", "dot", "matrix and vector", "matrices"])
@pytest.mark.usefixtures("x64")
def test_other_types(name, dtype):
    subscripts, *shapes = TINY[name]
    specs = [Spec(shape, dtype) for shape in shapes]
    check(lambda x, y: jnp.einsum(subscripts, x, y), *specs, opsets=(21,))


@pytest.mark.parametrize("name", ["outer", "dot", "matrix and vector", "vector and columns", "matrices"])
def test_nan_infinity_and_zero(name):
    subscripts, *shapes = TINY[name]
    random = np.random.default_rng(0)
    values = np.array([0, -0.0, 1, -2, np.nan, np.inf, -np.inf, 3e38], np.float32)
    args = [random.choice(values, shape, p=[0.2, 0.1, 0.25, 0.25, 0.05, 0.05, 0.05, 0.05]) for shape in shapes]
    check(lambda x, y: jnp.einsum(subscripts, x, y), *args, opsets=(21,), contains=["Mul"])


def test_gradients_under_vmap():
    def loss(w, x):
        return jnp.tanh(w @ x).sum()

    check(
        jax.vmap(jax.grad(loss, (0, 1))), Spec((64, 3, 5)), Spec((64, 5)), opsets=(21,), contains=["Mul", "ReduceSum"]
    )


def test_transposes_between_products_cancel():
    def chain(x, y, z):
        return x @ y @ z

    program = check(chain, *[Spec(("B", 3, 3))] * 3, contains=["Mul"], opsets=(21,))
    transposes = [node for node in program.model.graph if node.op_type == "Transpose"]
    assert len(transposes) == 4, "three of operands, one of the result"


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 4, 2), (4, 4, 4), (6, 3, 6), (1, 6, 6), (6, 6, 1)])
@pytest.mark.parametrize("pairs", [0, 1, 40])
def test_any_number_of_pairs(sizes, pairs):
    rows, inner, columns = sizes
    program = check(jnp.matmul, Spec(("B", rows, inner)), Spec(("B", inner, columns)), opsets=(21,), contains=["Mul"])
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(pairs, *shape)).astype(np.float32) for shape in ((rows, inner), (inner, columns)))
    np.testing.assert_allclose(program(x, y), x @ y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0, 1])
def test_sizes_0_and_1(size):
    check(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), Spec((64, 3, size)), Spec((64, size, 3)), opsets=(21,))
    check(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), Spec((64, size, 3)), Spec((64, 3, 3)), opsets=(21,))
    check(lambda x, y: jnp.einsum("bi,bi->b", x, y), Spec((8, size)), Spec((8, size)), opsets=(21,))
    check(lambda x, y: jnp.einsum("bij,bj->bi", x, y), Spec((64, size, 3)), Spec((64, 3)), opsets=(21,))
    check(lambda x, y: jnp.einsum("bi,bj->bij", x, y), Spec((size, 3)), Spec((size, 2)), opsets=(21,))
