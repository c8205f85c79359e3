import jax
import ml_dtypes
import numpy as np
import pytest


@pytest.fixture
def x64():
    """64-bit types for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def extremes():
    """`extremes(dtype, count)`: random values over the whole range, and the ones where operations go wrong."""

    def make(dtype, count=60, seed=0):
        rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
        if dtype == np.bool_:
            return rng.integers(0, 2, count).astype(bool)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            special = np.array([0, 1, 2, 3, info.max, info.max - 1, info.min, info.min + 1], dtype)
            anything = rng.integers(info.min, info.max, count, dtype=dtype, endpoint=True)
            small = rng.integers(max(info.min, -9), 10, count).astype(dtype)
            return rng.permutation(np.concatenate([special, anything, small]))
        info = ml_dtypes.finfo(dtype)
        special = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan]
        special += [float(info.max), float(info.tiny), 1 + float(info.eps), 1 - float(info.eps)]
        wide = rng.standard_normal(count) * 10.0 ** rng.uniform(-4, 4, count)
        return rng.permutation(np.concatenate([special, wide, rng.standard_normal(count)])).astype(dtype)

    return make
