"""Scaled modified Bessel functions."""

import numpy as np
import pytest
from jax import lax
from scipy import special

from j2o_core import to_onnx
from j2o_core.testing import DTYPES, Spec, check


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 5e-6), (np.float64, 1e-12)])
def test_against_scipy(x64, dtype, rtol):
    x = np.concatenate([np.linspace(-30, 30, 401), np.logspace(-9, 8, 60), [8, -8, 7.9999, 40]]).astype(dtype)
    i0e, i1e = to_onnx(lambda x: (lax.bessel_i0e(x), lax.bessel_i1e(x)), [x])(x)
    np.testing.assert_allclose(i0e, special.i0e(x.astype(np.float64)), rtol=rtol)
    np.testing.assert_allclose(i1e, special.i1e(x.astype(np.float64)), rtol=rtol)


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_edges(x64, dtype):
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1], dtype)
    # The polynomials are ours: see the relative errors above.
    check(lambda x: (lax.bessel_i0e(x), lax.bessel_i1e(x)), x, opsets=(18, 26), ulps=200 if dtype == np.float64 else 20)


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(lambda x: (lax.bessel_i0e(x), lax.bessel_i1e(x)), Spec(shape), opsets=(21,), ulps=20)
