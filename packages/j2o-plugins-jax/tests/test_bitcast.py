"""Bits as another dtype, also where ONNX has no operator for it."""

import ml_dtypes
import numpy as np
import pytest
from jax import lax

from j2o_core import UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

PAIRS = [
    (np.float32, np.int32),
    (np.float32, np.uint32),
    (np.float64, np.int64),
    (np.float64, np.uint64),
    (np.float16, np.int16),
    (ml_dtypes.bfloat16, np.uint16),
]


def _bits(word, count=400):
    """Random bits, every exponent and both zeros, the smallest and largest numbers, infinities; no NaN payloads."""
    rng = np.random.default_rng(0)
    return rng.integers(np.iinfo(word).min, np.iinfo(word).max, count, dtype=word, endpoint=True)


def _floats(float_dtype, word):
    x = _bits(word).view(float_dtype)
    info = ml_dtypes.finfo(float_dtype)
    special = [0.0, -0.0, 1, -1, np.inf, -np.inf, info.max, info.min, info.tiny, info.smallest_subnormal, np.nan]
    with np.errstate(all="ignore"):
        return np.concatenate([x[~np.isnan(x.astype(np.float64))], np.array(special).astype(float_dtype)])


@pytest.mark.parametrize(("float_dtype", "word"), PAIRS)
def test_float_to_bits(x64, float_dtype, word):
    check(lambda x: lax.bitcast_convert_type(x, word), _floats(float_dtype, word), opsets=(18, 26))


@pytest.mark.parametrize(("float_dtype", "word"), PAIRS)
def test_bits_to_float(x64, float_dtype, word):
    x = _floats(float_dtype, word).view(word)
    check(lambda x: lax.bitcast_convert_type(x, float_dtype), x, opsets=(18, 26), rtol=0, atol=0)


@pytest.mark.parametrize(("float_dtype", "word"), [pair for pair in PAIRS if np.dtype(pair[1]).kind == "u"])
@pytest.mark.parametrize("one", [1.0, 2.0**-3, 2.0**9])
def test_fractions_of_one_exponent(x64, float_dtype, word, one):
    """As `jax.random.uniform` has them: random bits behind those of 1."""
    stored = int(ml_dtypes.finfo(float_dtype).nmant)
    above = word(np.iinfo(word).bits - stored)
    exponent = np.array(one, float_dtype).view(word)

    def fn(x):
        return lax.bitcast_convert_type(lax.shift_right_logical(x, above) | exponent, float_dtype)

    check(fn, _bits(word), opsets=(21,), absent=["Gather", "Where"], rtol=0, atol=0)
    check(fn, _bits(word), opsets=(26,), rtol=0, atol=0)


@pytest.mark.parametrize("exponent", [0x7F800000, 0xBF800000, 0])
def test_fractions_of_infinity_zero_and_negative_numbers(exponent):
    x = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)
    check(
        lambda x: lax.bitcast_convert_type((x >> 9) | np.uint32(exponent), np.float32),
        x[[0, 0]] if exponent == 0x7F800000 else x,
        opsets=(21,),
        contains=["Where"] if exponent else ["BitShift"],
    )


@pytest.mark.parametrize("new", [np.uint8, np.int16, np.float16, np.float32, np.uint32])
def test_words_are_taken_apart_lowest_first(new):
    check(lambda x: lax.bitcast_convert_type(x, new), _bits(np.int32, 12).reshape(3, 4), opsets=(18, 26))


@pytest.mark.parametrize(("old", "parts"), [(np.uint8, 4), (np.int16, 2), (np.float16, 2)])
def test_words_are_put_together(old, parts):
    x = np.random.default_rng(0).integers(0, 100, (5, parts)).astype(old)
    check(lambda x: lax.bitcast_convert_type(x, np.int32), x, opsets=(18, 26))


def test_booleans_stay():
    check(lambda x: ~lax.bitcast_convert_type(x, np.bool_), Spec((3,), np.bool_))


def test_float8():
    def fn(x):
        return lax.bitcast_convert_type(x, ml_dtypes.float8_e5m2).astype(np.float32)

    def back(x):
        return lax.bitcast_convert_type(x.astype(ml_dtypes.float8_e5m2), np.uint8)

    check(fn, np.arange(256, dtype=np.uint8), opsets=(19, 26))
    check(back, np.array([0, -0.0, 1, -3, 1e-5, 300, 1e6, -np.inf, np.nan], np.float32), opsets=(19, 26))


def test_other_float8_need_bitcast():
    def fn(x):
        return lax.bitcast_convert_type(x, ml_dtypes.float8_e4m3fn).astype(np.float32)

    with pytest.raises(UnsupportedError, match="opset 26"):
        to_onnx(fn, [Spec((3,), np.uint8)], opset=21)


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(lambda x: lax.bitcast_convert_type(x, np.float32), Spec(shape, np.int32), opsets=(21, 26))
    check(lambda x: lax.bitcast_convert_type(x, np.uint8), Spec(shape, np.float32), opsets=(21, 26))
