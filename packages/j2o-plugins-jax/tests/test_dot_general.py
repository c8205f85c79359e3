"""dot_general against JAX: every layout of its axes, element types, and the forms that a fast graph needs."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(8, 3)).astype(np.float32)


def _op_types(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_element_types(dtype):
    check(lambda x, y: lax.dot(x, y), Spec((5, 4), dtype), Spec((4, 3), dtype))


@pytest.mark.parametrize(
    ("operands", "result"),
    [
        (np.int8, np.int32),
        (np.uint8, np.int32),
        (np.int16, np.int32),
        (ml_dtypes.bfloat16, np.float32),
        (np.float16, np.float32),
        (ml_dtypes.float8_e4m3fn, np.float32),
        (np.int8, np.float32),
    ],
)
def test_preferred_element_type(operands, result):
    x = RNG.integers(-100, 100, (5, 40)).astype(operands)
    y = RNG.integers(-100, 100, (40, 3)).astype(operands)
    once(lambda x, y: lax.dot(x, y, preferred_element_type=result), x, y, opsets=(21, 26))


BYTES = {np.int8: (-128, 128), np.uint8: (0, 256)}


@pytest.mark.parametrize("rhs", BYTES)
@pytest.mark.parametrize("lhs", BYTES)
@pytest.mark.parametrize("result", [np.int32, np.uint32, np.int16, np.int8])
def test_products_of_bytes(lhs, rhs, result):
    x, y = (RNG.integers(*BYTES[dtype], shape).astype(dtype) for dtype, shape in ((lhs, (2, 5, 40)), (rhs, (2, 40, 3))))
    x[0], y[0] = BYTES[lhs][0], BYTES[rhs][0]  # the largest sums
    x[1], y[1] = BYTES[lhs][1] - 1, BYTES[rhs][0]
    batch = (((2,), (1,)), ((0,), (0,)))
    product = functools.partial(lax.dot_general, dimension_numbers=batch, preferred_element_type=result)
    once(product, x, y, contains=["MatMulInteger"], absent=["MatMul"])
    once(lambda x: product(x, y), x, contains=["MatMulInteger"])  # a weight
    once(lambda y: jnp.einsum("bik,bkj->jbi", x, y, preferred_element_type=result), y, contains=["MatMulInteger"])


def test_bytes_of_vectors_and_symbolic_rows():
    w = RNG.integers(-128, 128, (40, 3)).astype(np.int8)
    product = functools.partial(lax.dot, preferred_element_type=np.int32)
    once(lambda x: product(x, w), Spec(("B", 40), np.int8), contains=["MatMulInteger"])
    once(product, Spec((40,), np.int8), Spec((40, 3), np.int8), contains=["MatMulInteger"])
    once(product, Spec((40,), np.int8), Spec((40,), np.int8), contains=["MatMulInteger"])


@pytest.mark.parametrize(
    ("shapes", "dtypes", "result"),
    [
        (((2, 8), (8, 3)), (np.int8, np.int8), np.int32),  # few
        (((2, 0), (0, 3)), (np.int8, np.int8), np.int32),  # none
        (((2, 40), (40, 3)), (np.int8, np.int16), np.int32),
        (((2, 40), (40, 3)), (np.int8, np.int8), np.float32),
    ],
)
def test_no_products_of_bytes(shapes, dtypes, result):
    x, y = (RNG.integers(-100, 100, shape).astype(dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    numbers = (((1,), (0,)), ((), ()))
    once(lambda x, y: lax.dot_general(x, y, numbers, preferred_element_type=result), x, y, absent=["MatMulInteger"])


def test_mixed_element_types():
    def fn(x, y):
        return lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=np.float32)

    once(fn, Spec((5, 4), ml_dtypes.bfloat16), Spec((4, 3), np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32])
def test_integers_wrap(dtype):
    limit = np.iinfo(dtype).max
    x = np.full((2, 7), limit, dtype)
    once(lambda x, y: x @ y, x, np.full((7, 2), limit - 1, dtype))


def test_wide_element_types():
    with jax.enable_x64(True):
        for dtype in DTYPES.wide:
            once(lambda x, y: x @ y, Spec((5, 4), dtype), Spec((4, 3), dtype))


@pytest.mark.parametrize("shapes", [((4, 0), (0, 3)), ((0, 4), (4, 3)), ((0,), (0,)), ((2, 0, 3), (2, 3, 0))])
def test_empty_operands(shapes):
    check(jnp.matmul, *map(Spec, shapes))


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4,), (4, 3)), ((5, 4), (4,)), ((1, 1), (1, 1)), ((2, 5, 4), (4,))])
def test_vectors_need_no_reshape(shapes):
    once(jnp.matmul, *map(Spec, shapes), absent=["Reshape", "Unsqueeze"])


@pytest.mark.parametrize(
    ("fn", "shape"),
    [
        (lambda x: WEIGHT @ x, (3,)),
        (jax.vmap(lambda x: WEIGHT @ x), ("B", 3)),
        (jax.vmap(jax.vmap(lambda x: WEIGHT @ x)), ("B", "T", 3)),
        (jax.vmap(jax.vmap(lambda x: x @ WEIGHT.T)), ("B", "T", 3)),
        (lambda x: jnp.einsum("oi,bti->bto", WEIGHT, x), ("B", "T", 3)),
        (lambda x: x @ WEIGHT.T, ("B", "T", 3)),
        (lambda x: lax.dot_general(WEIGHT, x, (((1,), (2,)), ((), ()))).transpose(1, 2, 0), ("B", "T", 3)),
    ],
)
def test_a_linear_layer_is_one_matmul_with_its_weight_on_the_right(fn, shape):
    program = once(fn, Spec(shape))
    assert _op_types(program) == ["MatMul"]
    weight = program.model.graph.node(0).inputs[1]
    assert weight.is_initializer()
    assert list(weight.shape) == [3, 8]


SCALES = np.array([-1, 0.5, 2, 0, 1], np.float32)


@pytest.mark.parametrize(
    ("scales", "expected"), [(SCALES, {"Mul"}), (np.ones(5, np.float32), set()), (np.ones(5, np.int32), set())]
)
def test_a_factor_for_each_batch_is_no_matrix_product(scales, expected):
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -0.0], np.float32).reshape(5, 1)
    for subscripts, shape in {"h...k,h->h...k": (5, "B"), "bhk,h->bhk": ("B", 5, 3), "hk,h->kh": (5, "K")}.items():
        program = once(functools.partial(jnp.einsum, subscripts), Spec(shape), scales)
        assert "MatMul" not in _op_types(program)
        program = once(lambda x, subscripts=subscripts: jnp.einsum(subscripts, x, scales), Spec(shape))
        assert {*_op_types(program)} - {"Transpose", "Identity"} == expected
    np.testing.assert_array_equal(program(x)[0], x.ravel() * scales)


def test_attention_scores_and_values_transpose_no_scores():
    q, k = Spec(("B", "T", 2, 4)), Spec(("B", "S", 2, 4))
    program = once(lambda q, k: jnp.einsum("bthd,bshd->bhts", q, k), q, k)
    assert sorted(_op_types(program)) == ["MatMul", "Transpose", "Transpose"]
    program = once(lambda p, v: jnp.einsum("bhts,bshd->bthd", p, v), Spec(("B", 2, "T", "S")), k)
    assert sorted(_op_types(program)) == ["MatMul", "Transpose", "Transpose"]


def test_several_contracted_and_free_axes():
    w = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    once(lambda x: jnp.einsum("bthk,hkd->btd", x, w), Spec(("B", 5, 2, 4)), absent=["Einsum", "Transpose"])
    once(lambda x: jnp.einsum("btd,hkd->bthk", x, w), Spec(("B", 5, 3)), absent=["Einsum", "Transpose"])
    once(lambda x, y: jnp.einsum("abcd,dbef->afce", x, y), Spec((2, 3, 4, 5)), Spec((5, 3, 2, 4)))


@st.composite
def _contractions(draw):
    """Two shapes and dimension numbers that fit them."""
    counts = [draw(st.integers(0, 2)) for _ in range(4)]
    batch, contract, lhs_free, rhs_free = ([draw(st.integers(1, 3)) for _ in range(count)] for count in counts)
    sides = []
    for free in (lhs_free, rhs_free):
        labels = [("b", i) for i in range(len(batch))] + [("c", i) for i in range(len(contract))]
        labels += [("f", i) for i in range(len(free))]
        order = draw(st.permutations(labels))
        sizes = {"b": batch, "c": contract, "f": free}
        shape = tuple(sizes[kind][i] for kind, i in order)
        sides.append((shape, *([order.index((kind, i)) for i in range(len(sizes[kind]))] for kind in "cb")))
    (lhs, lhs_contract, lhs_batch), (rhs, rhs_contract, rhs_batch) = sides
    return lhs, rhs, ((lhs_contract, rhs_contract), (lhs_batch, rhs_batch))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_contractions(), st.sampled_from(["neither", "lhs", "rhs"]))
def test_any_dimension_numbers(case, constant):
    lhs, rhs, numbers = case
    x, y = RNG.normal(size=lhs).astype(np.float32), RNG.normal(size=rhs).astype(np.float32)
    if constant == "lhs":
        once(lambda y: lax.dot_general(x, y, numbers), y)
    elif constant == "rhs":
        once(lambda x: lax.dot_general(x, y, numbers), x)
    else:
        once(lambda x, y: lax.dot_general(x, y, numbers), x, y)


def test_under_grad():
    def loss(x, w):
        return jnp.sum(jnp.tanh(jax.vmap(lambda v: w @ v)(x)) ** 2)

    once(jax.grad(loss, (0, 1)), Spec(("B", 3)), Spec((4, 3)))
    once(jax.hessian(lambda x: jnp.sum((WEIGHT @ x) ** 3)), Spec((3,)))


def test_mixing_over_an_axis_in_the_middle_moves_no_activation():
    w = RNG.normal(size=(5, 3)).astype(np.float32)
    for spec in (Spec(("B", 3, 4, 2)), Spec(("B", 3, 4))):
        once(lambda x: jnp.einsum("oc,bc...->bo...", w, x), spec, contains=["MatMul"], absent=["Transpose"])
