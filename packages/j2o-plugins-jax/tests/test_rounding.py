"""Rounding and neighbouring floats."""

import ml_dtypes
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

FLOATS = (*DTYPES.floats, np.float64)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding(x64, extremes, dtype):
    ties = np.arange(-4.5, 5, 0.5).astype(dtype)
    below_half = np.array([0.5 - float(ml_dtypes.finfo(dtype).epsneg) / 2, 2 ** ml_dtypes.finfo(dtype).nmant + 1])
    check(
        lambda x: (
            lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
            lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
            lax.floor(x),
            lax.ceil(x),
            lax.is_finite(x),
        ),
        np.concatenate([extremes(dtype), ties, below_half.astype(dtype)]),
        opsets=(21,),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_nextafter(x64, extremes, dtype):
    x = extremes(dtype)
    check(lax.nextafter, x, np.random.default_rng(1).permutation(x), opsets=(18, 26), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_reduce_precision(x64, extremes, dtype):
    bits = [(5, 2), (4, 3), (8, 7), (5, 10), (8, 23), (2, 1)]
    check(lambda x: [lax.reduce_precision(x, *b) for b in bits], extremes(dtype), opsets=(21, 26), rtol=0, atol=0)


def test_enough_precision_is_nothing():
    check(lambda x: lax.reduce_precision(x, 8, 23) + 1, Spec(("B", 2)), absent=["Cast", "Where"])


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(
        lambda x: (lax.reduce_precision(x, 5, 2), lax.nextafter(x, x), lax.round(x), lax.is_finite(x)),
        Spec(shape),
        opsets=(21,),
    )
