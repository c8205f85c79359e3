"""argmax and argmin: ties, NaN, index types."""

import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check


@pytest.mark.parametrize("dtype", [*DTYPES.all, *DTYPES.wide])
def test_positions(x64, extremes, dtype):
    x = extremes(dtype)
    x = np.repeat(x[:50].reshape(5, 10), 2, axis=1)  # every extreme twice
    check(
        lambda x: (lax.argmax(x, 1, np.int32), lax.argmin(x, 0, np.uint8), lax.argmin(x, 1, np.int64)),
        x,
        opsets=(18, 26),
    )


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_the_first_nan_is_both_extremes(x64, dtype):
    x = np.array([[1, np.nan, np.inf, np.nan], [np.inf, -np.inf, 2, np.nan], [-np.inf, 1, 1, 0]], dtype)
    check(lambda x: (lax.argmax(x, 1, np.int32), lax.argmin(x, 1, np.int32)), x, opsets=(18, 26))


@pytest.mark.parametrize("shape", [("B", 4), (1, 1), (0, 4)])
def test_shapes(shape):
    check(lambda x: lax.argmax(x, 1, np.int32), Spec(shape))
