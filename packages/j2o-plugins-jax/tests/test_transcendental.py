"""Exponentials, logarithms, trigonometric and hyperbolic functions, with the relative error that JAX's own have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import DTYPES, Spec, check

FUNCTIONS = {
    "exponentials": (lax.exp, lax.exp2, lax.expm1),
    "logarithms": (lax.log, lax.log1p),
    "circular": (lax.sin, lax.cos, lax.tan),
    "inverse circular": (lax.asin, lax.acos, lax.atan),
    "hyperbolic": (lax.sinh, lax.cosh, lax.tanh),
    "inverse hyperbolic": (lax.asinh, lax.atanh),
}
# sin, cos and the exponentials of both differ in the last digits of large arguments.
RTOL = {2: None, 4: 4e-6, 8: 2e-13}


@pytest.mark.parametrize("family", FUNCTIONS)
@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_function(x64, extremes, family, dtype):
    x = extremes(dtype)
    wide = x.astype(np.float64)
    # Huge angles differ in their last digits, and XLA gives 0 for what is or may be subnormal.
    ordinary = (wide < -800) | ((wide > -80) & (wide < 1e5) & ((np.abs(wide) > 1e-30) | (wide == 0)))
    x = x[ordinary | ~np.isfinite(wide)]
    rtol = RTOL[np.dtype(dtype).itemsize]
    check(lambda x: [f(x) for f in FUNCTIONS[family]], x, opsets=(21,), rtol=rtol, atol=None if rtol is None else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_acosh(x64, dtype):
    x = np.array([1, 1.0001, 1.5, 3, 1e3, 1e9, 1e20, np.inf, np.nan, 0.5, 0, -1], dtype)
    check(lax.acosh, x, opsets=(21,), rtol=RTOL[np.dtype(dtype).itemsize], atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cancellation_near_zero(x64, dtype):
    x = np.concatenate([sign * np.logspace(-30, -1, 40) for sign in (1, -1)]).astype(dtype)
    check(lambda x: (lax.expm1(x), lax.log1p(x), lax.sinh(x), lax.atanh(x)), x, opsets=(21,), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_atan2_at_the_edges(x64, dtype):
    values = np.array([0.0, -0.0, 1, -1, 1e-4, -1e4, 2.5, np.inf, -np.inf, np.nan], dtype)
    y, x = (grid.ravel() for grid in np.meshgrid(values, values))
    check(lax.atan2, y, x, opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logistic(x64, dtype):
    x = np.linspace(-15, 40, 111).astype(dtype)
    # ONNX Runtime's float32 Sigmoid has an absolute error of 1e-7.
    check(
        lax.logistic, x, opsets=(21,), rtol=1e-14 if dtype == np.float64 else 0, atol=0 if dtype == np.float64 else 2e-7
    )


def test_logarithm_of_logistic_keeps_its_tail():
    x = np.linspace(-80, 80, 101).astype(np.float32)
    check(lambda x: jnp.log(lax.logistic(x)), x, rtol=1e-6, atol=1e-8, absent=["Sigmoid"])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.arccos(jnp.clip(jnp.tanh(x), -1, 1)),
        lambda x: jnp.sqrt(jnp.maximum(1 - jnp.abs(jnp.tanh(x)), 0)),
        lambda x: jnp.sqrt(jnp.maximum(1 - jax.nn.sigmoid(x), 0)),
        lambda x: jnp.log1p(-jnp.minimum(jax.nn.sigmoid(x), 1)),
    ],
)
def test_limits_of_kernels_that_go_beyond_1_stay(fn):
    """The kernels of Tanh and Sigmoid give up to 1.0000002, with which these are NaN."""
    x = np.linspace(-20, 20, 20001, dtype=np.float32)
    assert not np.isnan(to_onnx(fn, [x])(x)).any()


def test_logistic_is_one_node():
    program = check(lax.logistic, Spec(("B", 3)), contains=["Sigmoid"])
    assert len(list(program.model.graph)) == 1


@pytest.mark.parametrize("shape", [(0, 3), (1,), (), ("B", 2)])
def test_shapes(shape):
    check(lambda x: (lax.expm1(x), lax.log1p(x), lax.atan2(x, x), lax.tanh(x)), Spec(shape), opsets=(21,))


@pytest.mark.skipif(not hasattr(lax, "log2_p"), reason="a primitive that JAX has since 0.11")
def test_log2():
    check(
        lambda x: lax.log2_p.bind(x, accuracy=None), np.array([0.5, 1, 8, 1e10, 0, np.inf, -1], np.float32), rtol=1e-6
    )


def test_log1p_keeps_the_sign_of_zero():
    x = np.array([-0.0, 0.0, -1e-30, 1e-9], np.float32)
    check(lambda x: (1 / lax.log1p(x), lax.log1p(x)), x, opsets=(21,), rtol=1e-6, atol=0)
