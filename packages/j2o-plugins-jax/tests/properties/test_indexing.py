"""Indexing as people write it, in all modes, with indices that are negative or outside."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from .drawing import ALL, FLOATS, NUMERIC, agree, arrays, examples, one_of, shapes

FULL = (1, 1, 2, 3, 4)  # no axis without elements
MODES = one_of("clip", "fill", "drop", "promise_in_bounds")


@st.composite
def indices(draw, shape=None):
    dtype = draw(one_of(np.int32, np.int8, np.uint8, np.int16))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = draw(shapes(max_rank=2)) if shape is None else shape
    return rng.integers(0 if dtype == np.uint8 else -6, 7, shape).astype(dtype)


@st.composite
def places(draw, x):
    """An index of an array, and the arrays in it that are arguments."""
    given, index = [], []
    batch = draw(shapes(max_rank=2, sizes=(1, 2, 3)))
    for _ in range(draw(st.integers(0, x.ndim))):
        kind = draw(one_of("array", "array", "slice", "number", "new axis"))
        if kind == "array":
            given.append(draw(indices(batch)))
        index.append({"array": len(given) - 1, "number": None, "slice": slice(1, None), "new axis": ...}[kind])
    number = draw(st.integers(-1, 0))

    def build(arrays):
        items = [arrays[i] if isinstance(i, int) else number if i is None else i for i in index]
        return tuple(None if item is ... else item for item in items)

    return given, build


@examples
@given(st.data(), arrays(one_of(*ALL), shapes(sizes=FULL)), MODES)
def test_reading(data, x, mode):
    given, build = data.draw(places(x))
    agree(data, lambda x, *given: [x[build(given)], x.at[build(given)].get(mode=mode)], x, *given)


@examples
@given(st.data(), arrays(one_of(*ALL), shapes(1, sizes=FULL)), indices(), one_of("clip", "fill", "wrap"))
def test_taking(data, x, index, mode):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    along = data.draw(indices(x.shape))

    def fn(x, index, along):
        return [
            jnp.take(x, index, axis=axis, mode=mode),
            jnp.take(x, index),
            jnp.take_along_axis(x, along, axis, mode=mode if mode != "wrap" else None),
        ]

    agree(data, fn, x, index, along)


@examples
@given(st.data(), arrays(one_of(*NUMERIC), shapes(sizes=FULL)), MODES)
def test_writing(data, x, mode):
    given, build = data.draw(places(x))
    value = data.draw(arrays(x.dtype, ()))

    def fn(x, value, *given):
        place = x.at[build(given)]
        # Of values set at the same place any may win: all are one value here.
        return [
            place.set(value, mode=mode),
            place.add(value, mode=mode),
            place.max(value, mode=mode),
            place.min(value, mode=mode),
        ]

    agree(data, fn, x, value, *given)


@examples
@given(st.data(), arrays(one_of(*FLOATS, np.int32, np.uint8), shapes(1, sizes=FULL)), MODES)
def test_writing_different_values(data, x, mode):
    index = data.draw(indices((data.draw(st.integers(0, 4)),)))
    updates = data.draw(arrays(x.dtype, (len(index), *x.shape[1:])))

    def fn(x, index, updates):
        place = x.at[index]
        return [
            place.add(updates, mode=mode),
            place.multiply(updates, mode=mode),
            place.max(updates, mode=mode),
            place.subtract(updates, mode=mode),
            x.at[jnp.sort(index % 7)].set(updates[:1], mode=mode),
        ]

    agree(data, fn, x, index, updates)


@examples
@given(st.data(), arrays(one_of(*NUMERIC), shapes(2, sizes=FULL)), MODES)
def test_under_vmap(data, x, mode):
    index = data.draw(indices((x.shape[0], 2)))

    def fn(x, index):
        return [
            jax.vmap(lambda x, i: x.at[i].get(mode=mode))(x, index),
            jax.vmap(lambda x, i: x.at[i].add(1, mode=mode))(x, index),
            jax.vmap(lambda x, i: x.at[i].set(3, mode=mode), (None, 0))(x[0], index),
        ]

    agree(data, fn, x, index)
