"""Sorting, orders and the largest elements."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from .drawing import ALL, NUMERIC, agree, arrays, examples, one_of, shapes


@examples
@given(st.data(), arrays(one_of(*ALL), shapes(1), wild=True))
def test_one_operand(data, x):
    axis, descending = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    agree(data, lambda x: [fn(x, axis, descending=descending) for fn in (jnp.sort, jnp.argsort)], x)


@examples
@given(st.data(), one_of(*ALL), one_of(*ALL), shapes(1))
def test_several_operands(data, first, second, shape):
    operands = [data.draw(arrays(dtype, shape)) for dtype in (first, second, np.float32)]
    axis, keys = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.integers(1, 3))
    agree(data, lambda *operands: lax.sort(operands, dimension=axis, num_keys=keys), *operands)


@examples
@given(st.data(), arrays(one_of(*NUMERIC), shapes(1)))
def test_the_largest(data, x):
    k = data.draw(st.integers(0, x.shape[-1]))
    agree(data, lambda x: lax.top_k(x, k), np.where(x == 0, 0, x).astype(x.dtype))


@examples
@given(st.data(), arrays(one_of(*NUMERIC), shapes(1, 1)), st.data())
def test_places_in_an_order(data, x, other):
    queries, side = other.draw(arrays(x.dtype)), data.draw(one_of("left", "right"))
    agree(data, lambda x, q: jnp.searchsorted(x, q, side=side), np.sort(x), queries)
