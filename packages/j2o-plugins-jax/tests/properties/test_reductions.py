"""Reductions, running reductions and positions of extremes, over any axes."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from .drawing import ALL, FLOATS, INTEGERS, NUMERIC, agree, arrays, examples, one_of, shapes


@st.composite
def axes_of(draw, x):
    return tuple(draw(st.lists(st.integers(0, x.ndim - 1), unique=True))) if x.ndim else ()


@examples
@given(st.data(), arrays(one_of(*NUMERIC)))
def test_sums_and_products(data, x):
    axes, keep = data.draw(axes_of(x)), data.draw(st.booleans())
    agree(data, lambda x: [jnp.sum(x, axes, keepdims=keep), jnp.prod(x, axes), lax.reduce_sum(x, axes)], x)


@examples
@given(st.data(), arrays(one_of(*ALL), wild=True))
def test_extremes(data, x):
    axes = data.draw(axes_of(x))
    agree(data, lambda x: [lax.reduce_max(x, axes), lax.reduce_min(x, axes)], x)


@examples
@given(st.data(), arrays(one_of(*INTEGERS, np.bool_), wild=True))
def test_reductions_that_wrap_and_of_bits(data, x):
    axes = data.draw(axes_of(x))
    functions = [jnp.any, jnp.all, jnp.sum, jnp.count_nonzero]
    bits = [lax.reduce_and, lax.reduce_or, lax.reduce_xor]
    agree(data, lambda x: [*(fn(x, axes) for fn in functions), *(fn(x, axes) for fn in bits)], x)


@examples
@given(st.data(), arrays(one_of(*NUMERIC), shapes(1)))
def test_running_sums_and_products(data, x):
    axis, reverse = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    agree(data, lambda x: [fn(x, axis=axis, reverse=reverse) for fn in (lax.cumsum, lax.cumprod)], x)


@examples
@given(st.data(), arrays(one_of(*NUMERIC), shapes(1), wild=True))
def test_running_extremes(data, x):
    axis, reverse = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    agree(data, lambda x: [fn(x, axis=axis, reverse=reverse) for fn in (lax.cummax, lax.cummin)], x)


@examples
@given(st.data(), arrays(one_of(*FLOATS), shapes(1)))
def test_running_logarithms_of_sums(data, x):
    axis, reverse = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    agree(data, lambda x: lax.cumlogsumexp(x, axis=axis, reverse=reverse), x)


@examples
@given(st.data(), arrays(one_of(*ALL), shapes(1, sizes=(1, 2, 3, 4)), wild=True))
def test_positions_of_extremes(data, x):
    axis, index = data.draw(st.integers(0, x.ndim - 1)), data.draw(one_of(np.int32, np.int8, np.uint32))
    agree(data, lambda x: [fn(x, axis, index) for fn in (lax.argmax, lax.argmin)], x)
