"""Operations that move elements: reshape, transpose, broadcast, pad, reverse, join, split."""

import math

import jax.numpy as jnp
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

from .drawing import ALL, agree, arrays, examples, one_of, shapes


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_orders_of_axes(data, x):
    order = data.draw(st.permutations(range(x.ndim)))
    reversed_axes = [axis for axis in range(x.ndim) if data.draw(st.booleans())]
    agree(data, lambda x: [lax.transpose(x, order), lax.rev(x, reversed_axes), x.reshape(-1), x.T.reshape(x.shape)], x)


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_reshape_to_any_shape(data, x):
    shape = data.draw(shapes(max_rank=5, sizes=(0, 1, 2, 3, 4, 6, 8)))
    assume(math.prod(shape) == x.size)
    agree(data, lambda x: x.reshape(shape), x)


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_broadcast_into_any_axes(data, x):
    rank = x.ndim + data.draw(st.integers(0, 2))
    axes = sorted(data.draw(st.permutations(range(rank)))[: x.ndim])
    shape = [data.draw(one_of(0, 1, 3)) for _ in range(rank)]
    for axis, size in zip(axes, x.shape, strict=True):
        shape[axis] = size if size != 1 else shape[axis]
    agree(data, lambda x: lax.broadcast_in_dim(x, shape, axes), x)


@examples
@given(st.data(), arrays(one_of(*ALL)))
def test_padding_with_any_amounts(data, x):
    config = []
    for size in x.shape:
        low, high, interior = (data.draw(st.integers(least, 3)) for least in (-3, -3, 0))
        config.append((low, high, interior))
        assume(low + high + size + max(size - 1, 0) * interior >= 0)
    value = data.draw(arrays(x.dtype, ()))
    agree(data, lambda x, value: lax.pad(x, value, config), x, value)


@examples
@given(st.data(), one_of(*ALL), shapes(1))
def test_joining(data, dtype, shape):
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    parts = [data.draw(arrays(dtype, (*shape[:axis], size, *shape[axis + 1 :]))) for size in sizes]
    agree(data, lambda *parts: [lax.concatenate(parts, axis), jnp.stack([parts[0]] * 2, axis)], *parts)


@examples
@given(st.data(), arrays(one_of(*ALL), shapes(1)))
def test_splitting(data, x):
    axis = data.draw(st.integers(0, x.ndim - 1))
    places = sorted(data.draw(st.lists(st.integers(0, x.shape[axis]), max_size=3)))
    agree(data, lambda x: jnp.split(x, places, axis), x)
