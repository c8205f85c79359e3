"""Products of rows in groups: all three modes of ragged_dot_general, with group sizes that come at run time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

RNG = np.random.default_rng(0)
SIZES = np.array([2, 0, 3], np.int32)


def _array(*shape, dtype=np.float32):
    return (RNG.normal(size=shape) * 9).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.int8, np.int32, np.complex64])
def test_rows_in_groups(dtype):
    """Six rows for groups of five: the last row belongs to none and becomes zero."""
    check(lax.ragged_dot, _array(6, 4, dtype=dtype), _array(3, 4, 2, dtype=dtype), SIZES, opsets=(21,))


def test_rows_in_groups_with_a_result_type_and_symbolic_sizes():
    check(lambda x, y, g: lax.ragged_dot(x, y, g, preferred_element_type=np.int32), *_int8(), SIZES, opsets=(21,))
    check(lax.ragged_dot, Spec(("B", 4)), Spec((3, 4, 2)), Spec((3,), np.int32), opsets=(21,))


def _int8():
    return _array(6, 4, dtype=np.int8), _array(3, 4, 2, dtype=np.int8)


def _general(contract, batch, ragged, group):
    numbers = lax.RaggedDotDimensionNumbers((contract, batch), ragged, group)
    return lambda lhs, rhs, sizes: lax.ragged_dot_general(lhs, rhs, sizes, numbers)


@pytest.mark.parametrize("sizes", [SIZES, np.array([[2, 0, 3], [1, 4, 1]], np.int32)])
def test_batches_of_rows_in_groups(sizes):
    # [b, m, k], [g, b, k, n]
    fn = _general(((2,), (2,)), ((0,), (1,)), (1,), (0,))
    check(fn, _array(2, 6, 4), _array(3, 2, 4, 5), sizes, opsets=(21,))
    # [m, k, b], [b, n, k, g]
    fn = _general(((1,), (2,)), ((2,), (0,)), (0,), (3,))
    check(fn, _array(6, 4, 2), _array(2, 5, 4, 3), sizes, opsets=(21,))


def test_axes_in_front_of_the_ragged_one():
    # [x, m, k], [g, k, n] with sizes for every x
    fn = _general(((2,), (1,)), ((), ()), (1,), (0,))
    check(fn, _array(2, 6, 4), _array(3, 4, 5), np.array([[2, 0, 3], [1, 4, 1]], np.int32), opsets=(21,))


@pytest.mark.parametrize("sizes", [SIZES, np.array([[2, 0, 3], [1, 4, 1]], np.int32)])
def test_ragged_contraction(sizes):
    # [b, m, k], [b, k, n] -> [g, b, m, n]
    fn = _general(((2,), (1,)), ((0,), (0,)), (2,), ())
    check(fn, _array(2, 4, 6), _array(2, 6, 5), sizes, opsets=(21,))
    # [m, k, j], [j, k, n] -> [g, m, n] with sizes for every k
    fn = _general(((1, 2), (1, 0)), ((), ()), (2,), ())
    check(fn, _array(4, 2, 6), _array(6, 2, 5), sizes, opsets=(21,))


def test_ragged_batch():
    fn = _general(((2,), (1,)), ((0,), (0,)), (0,), ())
    check(fn, _array(5, 4, 6), _array(5, 6, 2), SIZES, opsets=(21,))


def test_gradients():
    def loss(x, y, g):
        return jnp.sum(lax.ragged_dot(x, y, g) ** 2)

    check(jax.grad(loss, (0, 1)), _array(6, 4), _array(3, 4, 2), SIZES, opsets=(21,))
