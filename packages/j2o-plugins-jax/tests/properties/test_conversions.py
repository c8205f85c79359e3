"""Conversions between all dtypes, of NaN, infinities and what does not fit."""

import jax
import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from j2o_core.testing import check

from .drawing import ALL, arrays, examples, one_of, shapes

NARROW = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)


@examples
@given(st.data(), one_of(*ALL))
def test_from_a_dtype_to_all(data, dtype):
    x = data.draw(arrays(dtype, shapes(1, 2), wild=True))
    wider = np.array([255.5, -128.7, 2.0**31, 2.0**33, 2.0**64, -1e5, 3e4 + 0.5, 1e-9]).clip(-3e4, 3e4)
    if x.dtype.kind not in "iub":
        x = np.concatenate([x.ravel(), wider.astype(dtype)])
    opset = data.draw(one_of(18, 21, 23, 26))
    with jax.enable_x64(True):
        check(
            lambda x: [lax.convert_element_type(x, to) for to in (*ALL, *(NARROW if opset > 18 else ()))],
            x,
            opsets=[opset],
        )
