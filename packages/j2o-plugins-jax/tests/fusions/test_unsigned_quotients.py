"""Quotients of unsigned integers by powers of two are shifts; those by other numbers and of signed ones are not."""

import jax
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import check

X = np.array([0, 1, 2, 3, 7, 8, 2**31 - 1, 2**31, 2**32 - 1])


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("divisor", [1, 2, 8, 2**31, 3, 2**32 - 1])
def test_quotients(dtype, divisor):
    with jax.enable_x64(dtype == np.uint64):
        program = check(lambda x: lax.div(x, dtype(divisor)), X.astype(dtype), opsets=(18, 26))
    shifts = [node.op_type for node in program.model.graph].count("BitShift")
    assert shifts == (divisor in (2, 8, 2**31))


def test_signed_integers_are_divided_towards_zero():
    x = np.array([-7, -1, 0, 1, 7, -(2**31)], np.int32)
    check(lambda x: lax.div(x, np.int32(4)), x, opsets=(21,), absent=["BitShift"])
