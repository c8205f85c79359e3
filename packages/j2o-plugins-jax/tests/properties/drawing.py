"""Strategies of the property tests, for dtypes, shapes and arrays, and the comparison of a drawn program with JAX.

A few examples, the same on every machine, by default; `J2O_EXAMPLES=1000` draws as many for each test, new every time.
"""

import os

import jax
import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from j2o_core.testing import DTYPES, check

_ASKED = os.environ.get("J2O_EXAMPLES")
examples = settings(
    max_examples=int(_ASKED or 10),
    derandomize=not _ASKED,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

FLOATS = (*DTYPES.floats, np.float64)
INTEGERS = (*DTYPES.integers, np.int64, np.uint64)
NUMERIC = (*FLOATS, *INTEGERS)
ALL = (*NUMERIC, np.bool_)


def one_of(*choices):
    return st.sampled_from(choices)


def shapes(min_rank=0, max_rank=3, sizes=(0, 1, 1, 2, 3, 4)):
    return st.lists(one_of(*sizes), min_size=min_rank, max_size=max_rank).map(tuple)


@st.composite
def arrays(draw, dtype, shape=None, *, wild=False):
    """Small numbers that every dtype holds exactly; if `wild`, also NaN, infinities and the ends of the dtype."""
    shape = shapes() if shape is None else shape
    dtype, shape = (draw(one) if isinstance(one, st.SearchStrategy) else one for one in (dtype, shape))
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    integer = dtype.kind in "iu"
    values = rng.integers(0 if dtype.kind == "u" else -9, 10, shape) / (1 if integer else 4)
    if wild:
        if integer:
            info = np.iinfo(dtype)
            special = np.array([info.min, info.min + 1, info.max - 1, info.max], dtype)
        else:
            info = ml_dtypes.finfo(dtype)
            special = [np.nan, np.inf, -np.inf, -0.0, float(info.max), float(info.min), float(info.tiny), 0.5, 2.5]
        chosen = rng.choice(np.array(special, dtype), shape)
        return np.where(rng.random(shape) < 0.4, chosen, values.astype(dtype)).astype(dtype)
    return values.astype(dtype)


def agree(data, fn, *args, **options):
    """Check that a function exported at one of the opsets gives what JAX gives."""
    opset = data.draw(one_of(18, 21, 23, 26), label="opset")
    wide = any(np.asarray(leaf).dtype.itemsize == 8 for leaf in jax.tree.leaves(args))
    with jax.enable_x64(wide):
        check(fn, *args, opsets=(opset,), **options)
