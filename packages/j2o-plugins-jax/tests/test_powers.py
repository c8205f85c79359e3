"""Powers and roots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.float32])
def test_integer_powers_wrap(x64, extremes, dtype):
    exponents = [0, 1, 2, 3, 7, 39] + ([-1, -2, -5] if dtype == np.float32 else [])
    check(lambda x: [lax.integer_pow(x, y) for y in exponents], extremes(dtype), opsets=(21,), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_roots(x64, extremes, dtype):
    # XLA may compute a cube root by a logarithm, which near the largest number keeps 14 digits; ONNX Runtime keeps all.
    rtol = {4: 1e-6, 8: 3e-14}.get(np.dtype(dtype).itemsize)
    check(lambda x: (lax.sqrt(x), lax.rsqrt(x), lax.cbrt(x)), extremes(dtype), opsets=(21,), rtol=rtol, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_float_power_at_the_edges(x64, dtype):
    values = np.array([0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, np.inf, -np.inf, np.nan], dtype)
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    check(lax.pow, x, y, opsets=(21,), atol=0)


def test_float_to_an_integer_power():
    exponents = np.array([-3, -1, 0, 1, 2, 5], np.int32)
    check(
        lambda x, y: lax.pow(x, y), Spec((6,)), Spec((6,), np.int32), args=[(np.arange(6, dtype=np.float32), exponents)]
    )


def test_square_is_a_product():
    check(lambda x: jnp.square(x), Spec(("B", 3)), contains=["Mul"], absent=["Pow"])


@pytest.mark.skipif(not hasattr(lax, "one_minus_square_p"), reason="a primitive that JAX has since 0.11")
def test_one_minus_square():
    x = np.array([0.0, 0.5, 1 - 1e-7, -1 + 1e-7, 3], np.float32)
    check(lambda x: lax.one_minus_square_p.bind(x), x, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [*DTYPES.numeric, np.complex64])
def test_polynomials(dtype):
    coefficients = [2, -1, 0.5, 3] if np.dtype(dtype).kind in "fVc" else [2, 1, 3]
    check(lambda x: jnp.polyval(jnp.array(coefficients, dtype), x), Spec(("B", 3), dtype), opsets=(21,))


@pytest.mark.skipif(not hasattr(lax, "polynomial"), reason="lax.polynomial is new in JAX 0.12")
@pytest.mark.parametrize("shape", [(), (1, 3), (2, 1), (2, 3)])
def test_polynomials_with_arrays_of_coefficients(shape):
    def fn(x, a, b):
        return (
            lax.polynomial(x, [a, 1.5, b]),
            lax.polynomial(x, [0.5] * 12),
            lax.polynomial(x, [0.5] * 12, unroll=2),
            jax.grad(lambda x: lax.polynomial(x, [1.0, 2.0, 3.0]).sum())(x),
        )

    check(fn, Spec((2, 3)), Spec(shape), Spec(shape), opsets=(21,))
