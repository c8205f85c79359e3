"""Cumulative reductions in both directions."""

import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

FUNCTIONS = (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin)


def _both_directions(functions):
    return lambda x: [f(x, axis, reverse) for f in functions for axis, reverse in ((0, False), (1, True))]


@pytest.mark.parametrize("dtype", [*DTYPES.integers, np.int64, np.uint64])
def test_integers_wrap(x64, extremes, dtype):
    x = extremes(dtype)[:42].reshape(6, 7) | np.array(1, dtype)
    check(_both_directions(FUNCTIONS), x, opsets=(21, 26))


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_floats(x64, dtype):
    x = np.random.default_rng(0).uniform(0.5, 2, (5, 8)).astype(dtype)
    x[1, 3], x[2, 5], x[4, 1] = np.nan, np.inf, -np.inf
    check(_both_directions((*FUNCTIONS, lax.cumlogsumexp)), x, opsets=(21, 26))


def test_logarithms_of_sums_of_equal_infinities():
    x = np.array([-np.inf, -np.inf, 1, 80, 100, np.inf, np.inf, 0], np.float32)
    check(lambda x: [lax.cumlogsumexp(x, 0, reverse) for reverse in (False, True)], x, rtol=1e-6, atol=0, opsets=(21,))


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 0), ("B", 2)])
def test_shapes(shape):
    check(_both_directions((*FUNCTIONS, lax.cumlogsumexp)), Spec(shape), opsets=(21, 26))


def test_sum_is_one_node():
    check(lambda x: lax.cumsum(x, 1), Spec(("B", 3)), contains=["CumSum"], absent=["Scan", "Slice"])


def test_half_precision_of_any_length():
    check(lambda x: lax.cumlogsumexp(x, axis=0), Spec(("N", 4), np.float16), opsets=(18, 26))
