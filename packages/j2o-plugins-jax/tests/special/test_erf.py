"""The error functions, against SciPy as well: relative errors, tails included."""

import jax
import numpy as np
import pytest
from jax import lax
from scipy import special

from j2o_core import to_onnx
from j2o_core.testing import DTYPES, Spec, check

RTOL = {np.float32: 5e-6, np.float64: 1e-12}


@pytest.mark.parametrize("dtype", RTOL)
def test_against_scipy(x64, dtype):
    largest = 9.1 if dtype == np.float32 else 26.0  # beyond it erfc is subnormal
    x = np.concatenate([np.linspace(-7, largest, 700), [0.5, -0.5, 1, -1, 1e-9]]).astype(dtype)
    erf, erfc = to_onnx(lambda x: (lax.erf(x), lax.erfc(x)), [x])(x)
    np.testing.assert_allclose(erf, special.erf(x), rtol=RTOL[dtype])
    np.testing.assert_allclose(erfc, special.erfc(x.astype(np.float64)), rtol=RTOL[dtype])


@pytest.mark.parametrize("dtype", RTOL)
def test_inverse_against_scipy(x64, dtype):
    eps = np.finfo(dtype).eps
    y = np.concatenate([np.linspace(-0.999, 0.999, 301), 1 - np.logspace(np.log10(eps), -2, 60)]).astype(dtype)
    got = to_onnx(lax.erf_inv, [y])(y)
    np.testing.assert_allclose(got, jax.jit(lax.erf_inv)(y), rtol=RTOL[dtype] / 10)
    # JAX rounds y^2: near 1 its own relative errors are up to 5.8e-6 and 8e-11.
    np.testing.assert_allclose(
        got, special.erfinv(y.astype(np.float64)), rtol=2 * RTOL[dtype] if dtype == np.float32 else 2e-10
    )


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_edges(x64, extremes, dtype):
    x = extremes(dtype)
    check(lambda x: (lax.erf(x), lax.erfc(x)), x, opsets=(18, 26))
    # The polynomials of 64 bits have a relative error of 4e-15: 11 units at 0.5.
    x = np.array([0, -0.0, 1, -1, 0.5, 2, -1.5, np.nan, np.inf], dtype)
    check(lax.erf_inv, x, opsets=(21,), ulps=16 if dtype == np.float64 else 4)


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(lambda x: (lax.erf(x), lax.erfc(x), lax.erf_inv(x / 9)), Spec(shape), opsets=(21,))


def test_erf_is_one_node():
    program = check(lax.erf, Spec(("B", 3)), contains=["Erf"])
    assert len(list(program.model.graph)) == 1
