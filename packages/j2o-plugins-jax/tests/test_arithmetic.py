"""Arithmetic as XLA has it: wrap-around, division by zero, NaN, on every dtype."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import DTYPES, Spec, check

NUMBERS = (*DTYPES.numeric, *DTYPES.wide)
INTEGERS = (*DTYPES.integers, np.int64, np.uint64)


def _pairs(extremes, dtype):
    x = extremes(dtype)
    return x, np.random.default_rng(1).permutation(x)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_binary_operations(x64, extremes, dtype):
    x, y = _pairs(extremes, dtype)
    # float16 and bfloat16 round what float32 computed; the others are exact.
    check(
        lambda x, y: (x + y, x - y, x * y, lax.max(x, y), lax.min(x, y), lax.div(x, y), lax.rem(x, y)),
        *(x, y),
        opsets=(21,),
        rtol=1e-6 if np.dtype(dtype).itemsize > 2 else None,
        atol=0,
    )


@pytest.mark.parametrize("dtype", NUMBERS)
def test_unary_operations(x64, extremes, dtype):
    functions = [lax.neg, lax.sign, lax.square]
    if np.dtype(dtype).kind != "u":
        functions.append(lax.abs)
    check(lambda x: [f(x) for f in functions], extremes(dtype), opsets=(21,), atol=0)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_division_never_traps(x64, dtype):
    info = np.iinfo(dtype)
    values = [0, 1, 2, 7, info.max, info.min, info.min + 1] + ([-1, -2, -7] if info.min else [])
    x, y = (grid.ravel() for grid in np.meshgrid(np.array(values, dtype), np.array(values, dtype)))
    check(lambda x, y: (lax.div(x, y), lax.rem(x, y)), x, y, opsets=(21,))


def test_division_by_a_known_number_is_one_node():
    program = check(lambda x: lax.div(x, np.int32(7)), Spec(("B", 3), np.int32), contains=["Div"], absent=["Where"])
    assert len(list(program.model.graph)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_clamp(extremes, dtype):
    x = extremes(dtype)
    check(
        lambda low, x, high: (lax.clamp(low, x, high), lax.clamp(np.array(1, dtype), x, np.array(5, dtype))),
        *(x, x[::-1].copy(), np.roll(x, 3)),
        atol=0,
    )


def test_extremes_of_booleans():
    check(lambda x, y: (lax.max(x, y), lax.min(x, y)), *[Spec((8,), np.bool_)] * 2, contains=["Or", "And"])


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (), ("B", 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_shapes(shape, dtype):
    check(lambda x, y: (x + y, lax.div(x, y), lax.rem(x, y), -x), *[Spec(shape, dtype)] * 2, opsets=(21,))


@pytest.fixture(scope="module")
def programs():
    return {}


@settings(max_examples=40)
@given(data=st.data(), dtype=st.sampled_from([np.int8, np.uint8, np.int32, np.uint32]))
def test_integers_wrap_like_jax(programs, data, dtype):
    def fn(x, y):
        return x + y, x - y, x * y, lax.div(x, y), lax.rem(x, y), lax.integer_pow(x, 5)

    x, y = (data.draw(hnp.arrays(dtype, (4,))) for _ in range(2))
    if dtype not in programs:
        programs[dtype] = to_onnx(fn, [x, y]), jax.jit(fn)
    program, expected = programs[dtype]
    for got, want in zip(program(x, y), expected(x, y), strict=True):
        np.testing.assert_array_equal(got, np.asarray(want))


def test_nan_passes_through_maximum_and_minimum():
    x = np.array([np.nan, 1, np.nan], np.float32)
    y = np.array([2, np.nan, np.nan], np.float32)
    got = to_onnx(lambda x, y: (jnp.maximum(x, y), jnp.minimum(x, y)), [x, y])(x, y)
    assert np.isnan(got).all()


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="JAX 0.12 has it")
def test_a_product_in_another_dtype():
    """Operands are converted first: 200 * 200 is no number of int8."""
    x = np.array([100, -128, 127, 3], np.int8)
    check(lambda x: lax.mul(x, x, out_dtype=np.int32), x, contains=["Mul"])
