"""Quotients by powers of two are shifts, shifts to the left are products, bits that are put together are added."""

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


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("count", [1, 13, 31])
def test_rotations(dtype, count):
    width = np.iinfo(dtype).bits
    with jax.enable_x64(dtype == np.uint64):
        check(
            lambda x: lax.shift_left(x, dtype(count)) | lax.shift_right_logical(x, dtype(width - count)),
            X.astype(dtype) * dtype(0x1234567),
            opsets=(18, 26),
            contains=["Mul", "BitShift", "Add"],
            absent=["BitwiseOr"],
        )


APART = {
    "zero": lambda x: x | np.uint32(0),
    "a constant above": lambda x: (x >> 9) | np.uint32(0x3F800000),
    "a constant below": lambda x: (x << 9) | np.uint32(0x1FF),
    "fields": lambda x: ((x & 0xFF) << 8) | (x >> 24),
}
COMMON = {
    "one bit": lambda x: (x >> 8) | np.uint32(0x3F800000),
    "one bit below": lambda x: (x << 8) | np.uint32(0x1FF),
    "unknown": lambda x: x | (x << 16),
    "beyond the width": lambda x: lax.shift_left(x, np.uint32(32)) | x,
    "rotation that overlaps": lambda x: (x << 13) | (x >> 18),
}


@pytest.mark.parametrize("name", [*APART, *COMMON])
def test_bits_put_together(name):
    fn, absent = (APART[name], ["BitwiseOr"]) if name in APART else (COMMON[name], ["Add"])
    check(fn, X.astype(np.uint32) * np.uint32(0x1234567), opsets=(21,), absent=absent)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_other_types(dtype):
    check(lambda x: (x << dtype(3)) | (x >> dtype(5)), (X % 256).astype(dtype), opsets=(21,))
