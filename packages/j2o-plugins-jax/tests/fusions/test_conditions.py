"""Conditions and choices take the fewest nodes, with the numbers of JAX for NaN, infinities and zeros of both signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

X = np.array([[-5.0, -2.0, -0.0, 0.0, 3.0], [4.0, 4.5, np.nan, np.inf, 1e30]], np.float32)
Y = np.array([[2.0, -3.0, 1.0, -1.0, np.nan], [-0.0, 0.0, 5.0, -4.0, np.inf]], np.float32)


def operators(fn, *args, **options):
    return [node.op_type for node in check(fn, *args, opsets=(21,), **options).model.graph]


def halves(mask, x, y):
    """The gradient of a choice between two functions of one array: half of it comes by each."""
    return jnp.where(mask, 0, x) + jnp.where(mask, y, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_remainder_of_a_positive_number(dtype):
    with jax.enable_x64(dtype == np.float64):
        assert operators(lambda x: x % 4, X.astype(dtype)) == ["Mod", "Less", "Add", "Where"]


@pytest.mark.parametrize("divisor", [-4, np.inf, Y])
def test_other_remainders(divisor):
    operators(lambda x: x % divisor, X)


def test_gradient_of_a_remainder():
    found = operators(jax.grad(lambda x: jnp.sum(jnp.sin(x % 4))), X[:, :5])
    assert found == ["Mod", "Less", "Add", "Where", "Cos", "Add"]


@pytest.mark.parametrize("spec", [Spec((3,)), Spec(("N", 2)), Spec(())])
def test_comparisons_of_booleans(spec):
    assert operators(lambda x: (x > 0) != False, spec) == ["Greater"]  # noqa: E712
    assert operators(lambda x: (x > 0) != True, spec) == ["Greater", "Not"]  # noqa: E712
    assert operators(lambda x: (x > 0) == True, spec) == ["Greater"]  # noqa: E712
    assert operators(lambda x: (x > 0) == False, spec) == ["Greater", "Not"]  # noqa: E712
    assert operators(lambda x: (x > 0) != (x < 2), spec) == ["Greater", "Less", "Xor"]


def test_a_constant_that_gives_the_shape_is_kept():
    ones = np.ones((2, 5), bool)
    assert "Equal" in operators(lambda x: (x > 0) == ones, X[0])


INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_that_are_not_zero(dtype):
    info = np.iinfo(dtype)
    x = np.array([0, 1, info.min, info.max, 2, info.max // 2 + 1], dtype)
    with jax.enable_x64(True):
        assert operators(lambda x: x != 0, x) == ["Cast"]
        assert operators(lambda x: jnp.not_equal(0, x), x.reshape(2, 3)) == ["Cast"]
        assert operators(lambda x: x != 1, x) == ["Equal", "Not"]
        assert operators(lambda x: (x == 0, x != 0), x) == ["Equal", "Not"]
        assert operators(lambda x: x != np.zeros((2, 6), dtype), x)[-2:] == ["Equal", "Not"]


def test_floats_that_are_not_zero_are_compared():
    assert operators(lambda x: x != 0, np.array([0, -0.0, np.nan, np.inf, 1], np.float32)) == ["Equal", "Not"]


CHOICES = {
    (1, 0): ["Greater", "Cast"],
    (0, 1): ["Greater", "Not", "Cast"],
    (3, 0): ["Greater", "Cast", "Mul"],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("numbers", CHOICES)
@pytest.mark.parametrize("spec", [Spec((3,)), Spec(("N", 2)), Spec(()), Spec((0,))])
def test_choices_of_two_numbers(dtype, numbers, spec):
    yes, no = map(dtype, numbers)
    with jax.enable_x64(True):
        found = operators(lambda x: jnp.where(x > 0, yes, no), spec)
    assert spec.shape == (0,) or [name for name in found if name != "Reshape"] == CHOICES[numbers]


@pytest.mark.parametrize(
    ("yes", "no"), [(1.0, -0.0), (-0.0, 1.0), (-3.0, 0.0), (np.inf, 0.0), (np.nan, 0.0), (0.0, 3.0), (3.0, -0.0)]
)
def test_choices_of_two_numbers_that_stay(yes, no):
    program = check(lambda x: jnp.where(x > 0, np.float32(yes), np.float32(no)), X, opsets=(21,), target=None)
    assert "Where" in [node.op_type for node in program.model.graph]
    check(lambda x: jnp.signbit(jnp.where(x > 0, np.float32(yes), np.float32(no))), X, opsets=(21,))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_numbers_that_wrap_around(dtype):
    largest = np.iinfo(dtype).max
    found = operators(lambda x: jnp.where(x > 0, dtype(largest), dtype(0)) + dtype(largest), X)
    assert found == ["Greater", "Cast", "Mul", "Add"]


def test_choices_whose_mask_is_broadcast_stay():
    found = operators(lambda x: jnp.where(x[:, :1] > 0, np.ones((2, 5), np.float32), 0), X)
    assert "Where" in found


def test_comparisons_of_numbers_are_no_xor():
    assert operators(lambda x, y: x != y, X, Y) == ["Equal", "Not"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: (x <= y) & (x != y),
        lambda x, y: (x < y) & (x == y),
        lambda x, y: (x < y) & (x != y + 1),
        lambda x, y: (x < y) | (x != y),
    ],
)
def test_other_pairs_of_comparisons_are_kept(fn):
    assert {"And", "Or"} & {*operators(fn, X, Y)}


@pytest.mark.parametrize("fn", [lambda x, y: (x < y) & (x != y), lambda x, y: (y != x) & (x > y)])
def test_less_is_unequal(fn):
    assert operators(fn, X, Y) in (["Less"], ["Greater"])


@pytest.mark.parametrize("negated", [False, True])
def test_a_choice_on_both_sides(negated):
    def fn(x, y):
        mask = x > y
        return jnp.where(~mask if negated else mask, 0, x) + jnp.where(mask, *((0, x) if negated else (x, 0)))

    assert operators(fn, X, Y) == ["Add"]
    assert operators(lambda x, y: fn(jnp.abs(x), y), X, Y) == ["Abs"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: halves(x > y, x, y),
        lambda x, y: jnp.where(x > y, 0, x) + jnp.where(y > x, x, 0),
        lambda x, y: jnp.where(x > y, 0, x) + jnp.where(x > y, 0, x),
        lambda x, y: jnp.where(x > y, 1, x) + jnp.where(x > y, x, 0),
        lambda x, y: jnp.where(x > y, 0, x) + jnp.where(x > y, x, 1),
        lambda x, y: jnp.where(x > y, -0.0, x) + jnp.where(x > y, x, 0),
        lambda x, y: jnp.where(x > y, 0, x[0]) + jnp.where(x > y, x[0], 0),
    ],
)
def test_other_choices_are_kept(fn):
    assert "Where" in operators(fn, X, Y)


def test_reductions_of_axes_of_size_1():
    assert operators(lambda x: jnp.sum(x, (0, 2)), Spec((1, "N", 1))) == ["Squeeze"]
    assert operators(lambda x: jnp.max(x, 0), Spec((1, 3), np.int8)) == ["Squeeze"]
    assert operators(lambda x: jnp.any(x, 0), Spec((1, 3), np.bool_)) == ["Squeeze"]
    assert operators(lambda x: jnp.sum(jnp.sum(x, 0, keepdims=True), 0), X) == ["ReduceSum"]
    assert "ReduceSum" in operators(lambda x: jnp.sum(x, (0, 1)), Spec((1, 3)))
