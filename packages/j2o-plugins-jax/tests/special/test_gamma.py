"""The gamma function's relatives."""

import numpy as np
import pytest
from jax import lax
from scipy import special

from j2o_core import to_onnx
from j2o_core.testing import Spec, check


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(np.float32, 3e-6, 2e-6), (np.float64, 1e-12, 1e-13)])
def test_gamma_and_its_derivative_against_scipy(x64, dtype, rtol, atol):
    x = np.concatenate([np.linspace(-9.7, 30, 300), np.logspace(-3, 6, 40), [7.99, 8, 0.5]]).astype(dtype)
    # Near a pole the result is as sensitive as the distance to it.
    x = x[(x > 0) | (np.abs(x - np.round(x)) > 0.05)]
    lgamma, digamma = to_onnx(lambda x: (lax.lgamma(x), lax.digamma(x)), [x])(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(lgamma, special.gammaln(wide), rtol=rtol, atol=atol)
    # The tangent near its zeros loses what the angle lost.
    np.testing.assert_allclose(digamma, special.digamma(wide), rtol=10 * rtol, atol=10 * atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_poles_and_infinities(x64, dtype):
    x = np.array([0, -0.0, -1, -2, -30, np.inf, -np.inf, np.nan, 1, 2], dtype)
    # lgamma is 0 at 1 and 2, where JAX has rounding errors.
    values = to_onnx(lambda x: (lax.lgamma(x), lax.digamma(x)), [x])(x)
    for got, want in zip(values, (lax.lgamma(x), lax.digamma(x)), strict=True):
        np.testing.assert_allclose(got, np.asarray(want), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_zeta_and_polygamma(x64, dtype, rtol):
    values = [1.0, 1.5, 2, 3, 5, 10, 0.5, np.nan], [0.1, 0.5, 1, 2, 3, 10, 100, 0, -1, -1.5]
    x, q = (grid.ravel().astype(dtype) for grid in np.meshgrid(*values))
    check(lax.zeta, x, q, opsets=(21,), rtol=rtol, atol=0)
    m, x = (grid.ravel().astype(dtype) for grid in np.meshgrid([0.0, 1, 2, 3, 1.5, -1], [0.1, 0.5, 1, 3, 10]))
    check(lax.polygamma, m, x, opsets=(21,), rtol=rtol, atol=0)


# Sums that cancel keep few digits of float32.
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-3), (np.float64, 1e-10)])
def test_zeta_and_polygamma_of_negative_numbers(x64, dtype, rtol):
    """Also where the formula is inexact, and where its parts are near overflow."""
    negative = np.concatenate([-np.arange(0.25, 14.5, 0.37), [-9.98, -10.003, -10.2, -10.45]])
    m, x = (grid.ravel().astype(dtype) for grid in np.meshgrid([1.0, 2, 3, 4], negative))
    check(lambda m, x: (lax.polygamma(m, x), lax.zeta(m + 1, x)), m, x, opsets=(21,), rtol=rtol, atol=0)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-4), (np.float64, 1e-11)])
def test_incomplete_integrals(x64, dtype, rtol):
    grid = np.meshgrid([0.1, 0.5, 1, 5, 20, 0, -1, np.nan], [0, 0.1, 1, 2, 5, 20, np.inf, -1])
    a, x = (values.ravel().astype(dtype) for values in grid)
    check(lambda a, x: (lax.igamma(a, x), lax.igammac(a, x)), a, x, opsets=(21,), rtol=rtol, atol=0)
    check(lax.igamma_grad_a, a, x, opsets=(21,), rtol=rtol, atol=1e-6)
    grid = np.meshgrid([0.5, 1, 5, 0, -1], [0.5, 1, 5, np.inf], [0, 0.1, 0.9, 1, 1.5])
    a, b, x = (values.ravel().astype(dtype) for values in grid)
    check(lax.betainc, a, b, x, opsets=(21,), rtol=rtol, atol=0)


def test_half_precision_and_symbolic_shapes():
    x = np.linspace(0.5, 20, 40).astype(np.float16)
    check(lambda x: (lax.lgamma(x), lax.digamma(x), lax.igamma(x, x)), x, opsets=(21,))
    check(lambda x: (lax.lgamma(x), lax.digamma(x)), Spec(("B", 3)), opsets=(21,))
