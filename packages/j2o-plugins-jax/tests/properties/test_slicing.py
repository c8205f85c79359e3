"""Slices and their updates, with starts that JAX moves inside."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from .drawing import ALL, agree, arrays, examples, one_of, shapes

START_TYPES = (np.int32, np.int8, np.uint8, np.uint32, np.int64, np.uint64)


@st.composite
def starts_of(draw, shape):
    """A start for each axis, of one dtype, inside or not."""
    dtype = draw(one_of(*START_TYPES))
    info = np.iinfo(dtype)
    numbers = st.one_of(st.integers(max(-6, int(info.min)), 6), one_of(int(info.min), int(info.max)))
    return [np.array(draw(numbers), dtype) for _ in shape]


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_static_slices(data, x):
    starts = [data.draw(st.integers(0, size)) for size in x.shape]
    limits = [data.draw(st.integers(start, size)) for start, size in zip(starts, x.shape, strict=True)]
    strides = [data.draw(st.integers(1, 3)) for _ in x.shape]
    agree(data, lambda x: lax.slice(x, starts, limits, strides), x)


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_python_slices(data, x):
    bound = st.none() | st.integers(-5, 5)
    steps = st.none() | one_of(-2, -1, 1, 2)
    index = tuple(slice(data.draw(bound), data.draw(bound), data.draw(steps)) for _ in x.shape)
    agree(data, lambda x: x[index], x)


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_dynamic_slices(data, x):
    starts = data.draw(starts_of(x.shape))
    sizes = [data.draw(st.integers(0, size)) for size in x.shape]
    agree(data, lambda x, *starts: lax.dynamic_slice(x, starts, sizes), x, *starts)


@examples
@given(st.data(), one_of(*ALL), shapes())
def test_updates_of_dynamic_slices(data, dtype, shape):
    starts = data.draw(starts_of(shape))
    x = data.draw(arrays(dtype, shape))
    update = data.draw(arrays(dtype, tuple(data.draw(st.integers(0, size)) for size in shape)))
    agree(data, lambda x, update, *starts: lax.dynamic_update_slice(x, update, starts), x, update, *starts)
