"""Logic, shifts and bit counts."""

import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

INTEGERS = (*DTYPES.integers, np.int64, np.uint64)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_logic_and_counts(x64, extremes, dtype):
    x = extremes(dtype)
    check(
        lambda x, y: (x & y, x | y, x ^ y, ~x, lax.population_count(x), lax.clz(x)),
        *(x, x[::-1].copy()),
        opsets=(21,),
    )


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shifts_beyond_the_width(x64, extremes, dtype):
    x = extremes(dtype)
    width = np.dtype(dtype).itemsize * 8
    amounts = np.array([0, 1, 2, width - 1, width, width + 1, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype)
    functions = (lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic)
    check(lambda x, y: [f(x, y) for f in functions], x, np.resize(amounts, x.shape), opsets=(21,))


def test_booleans_use_the_logical_operators():
    check(lambda x, y: (x & y, x | y, x ^ y, ~x), *[Spec(("B", 3), np.bool_)] * 2, contains=["And", "Or", "Xor", "Not"])


@pytest.mark.skipif(not hasattr(lax, "mulhi"), reason="JAX has it since 0.10")
@pytest.mark.parametrize("dtype", INTEGERS)
def test_upper_half_of_products(x64, extremes, dtype):
    x = extremes(dtype)
    check(lambda x, y: lax.mulhi(x, y), x, x[::-1].copy(), opsets=(21,))


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(lambda x: (x << 3, x >> 3, lax.clz(x), ~x), Spec(shape, np.int32), opsets=(21,))
