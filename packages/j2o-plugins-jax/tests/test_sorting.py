"""Sorting and the largest elements: stability, several keys, NaN."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import DTYPES, Spec, check

ALL = (*DTYPES.all, *DTYPES.wide)


@pytest.mark.parametrize("dtype", ALL)
def test_sort(x64, extremes, dtype):
    x = np.repeat(extremes(dtype)[:30].reshape(5, 6), 2, axis=1)
    y = np.arange(x.size, dtype=np.int32).reshape(x.shape)
    check(
        lambda x, y: (lax.sort(x, dimension=0), *lax.sort((x, y), dimension=1, num_keys=1)), x, y, opsets=(21,), atol=0
    )


def test_several_keys_of_different_types():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 3, 40).astype(np.uint8), rng.choice([1.0, np.nan, np.inf, -0.0, 0.0], 40).astype(np.float32)
    check(lambda *xs: lax.sort(xs, num_keys=2), *keys, np.arange(40, dtype=np.int16), opsets=(18, 26))


def test_argsort_and_descending():
    x = np.array([3, np.nan, 1, 3, -np.inf, np.inf, np.nan, 1], np.float32)
    check(lambda x: (jnp.argsort(x), jnp.sort(x, descending=True), jnp.median(x[:1])), x, opsets=(21,))


@pytest.mark.parametrize("dtype", ALL)
def test_top_k(x64, extremes, dtype):
    x = np.repeat(extremes(dtype)[:30].reshape(5, 6), 2, axis=1)
    if "float" in np.dtype(dtype).name:
        x = np.where(x == 0, np.array(0, dtype), x)  # below opset 26 zeros are equal
    check(lambda x: lax.top_k(x, 4), x, opsets=(21, 26), atol=0)


def test_top_k_knows_the_signs_of_zeros_and_nan():
    x = np.array([1, np.nan, np.inf, -np.nan, 0, -0.0, 0.0, -np.inf], np.float32)
    check(lambda x: lax.top_k(x, 8), x, opsets=(26,))


@pytest.mark.parametrize("opset", [21, 26])
def test_the_smallest_are_no_nan(opset):
    x = np.array([[np.nan, 1, -2, np.inf], [np.nan, -np.inf, np.nan, np.nan], [3, 2, 1, 1]], np.float32)
    check(lambda x: (lax.top_k(-x, 2), jnp.partition(x, 1)[:, :2], jnp.argpartition(x, 1)[:, :2]), x, opsets=(opset,))


def test_top_k_of_integers_is_one_operator():
    check(lambda x: lax.top_k(x, 2), Spec(("B", 5), np.int32), contains=["TopK"], absent=["If", "GatherElements"])


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz])
def test_top_k_of_eight_bits(dtype):
    x = np.random.default_rng(0).permutation(8).reshape(2, 4).astype(dtype)
    check(lambda x: lax.top_k(x, 2), x, opsets=(21, 26))


def test_approximate_top_k_is_exact():
    x = np.random.default_rng(0).permutation(300).astype(np.float32)
    check(lambda x: (lax.approx_max_k(x, 5), lax.approx_min_k(x, 3)), x, opsets=(21,))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), ("B", 3)])
def test_shapes(shape):
    check(lambda x: (lax.sort(x, dimension=0), jnp.argsort(x, axis=1), lax.top_k(x, 2)), Spec(shape), opsets=(21, 26))


@pytest.fixture(scope="module")
def sorter():
    def fn(x, y):
        return lax.sort((x, y, jnp.arange(8, dtype=jnp.int32)), num_keys=2)

    specs = [Spec((8,), np.float32), Spec((8,), np.int8)]
    return to_onnx(fn, [jax.ShapeDtypeStruct(spec.shape, spec.dtype) for spec in specs]), jax.jit(fn)


@settings(max_examples=40)
@given(
    x=hnp.arrays(np.float32, (8,), elements=st.sampled_from([0.0, 1.0, -2.5, np.inf, -np.inf, np.nan])),
    y=hnp.arrays(np.int8, (8,), elements=st.integers(-2, 2)),
)
def test_any_order_is_jax_s(sorter, x, y):
    program, expected = sorter
    for got, want in zip(program(x, y), expected(x, y), strict=True):
        np.testing.assert_array_equal(got, np.asarray(want))
