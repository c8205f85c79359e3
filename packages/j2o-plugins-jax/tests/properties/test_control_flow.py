"""Control flow with small bodies that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from .drawing import agree, arrays, examples, one_of, shapes

DTYPES = (np.float32, np.int32, np.uint8, np.float64)
BODIES = [
    lambda c, x: c + x,
    lambda c, x: c * x - c,
    lambda c, x: jnp.where(c > x, x, c),
    lambda c, x: c[::-1] + x if c.ndim else c - x,
    lambda c, x: jnp.maximum(c, x) - c.sum(),
    lambda c, x: lax.cond((c > x).any(), jnp.negative, lambda c: c + 1, c),
    lambda c, x: lax.fori_loop(0, 2, lambda i, c: c + i.astype(c.dtype) * x, c),
]


@st.composite
def bodies(draw):
    """A function of a carry and an input, like the carry."""
    chosen = draw(st.lists(st.integers(0, len(BODIES) - 1), min_size=1, max_size=3))

    def body(c, x):
        for index in chosen:
            c = BODIES[index](c, x).astype(c.dtype)
        return c

    return body


@examples
@given(st.data(), one_of(*DTYPES), shapes(max_rank=2), bodies(), st.integers(0, 6))
def test_scans(data, dtype, shape, body, length):
    reverse = data.draw(st.booleans())
    init, xs = data.draw(arrays(dtype, shape)), data.draw(arrays(dtype, (length, *shape)))

    def fn(init, xs):
        return lax.scan(lambda c, x: (body(c, x), (c, x)), init, xs, reverse=reverse)

    agree(data, fn, init, xs)


@examples
@given(st.data(), one_of(*DTYPES), shapes(max_rank=2), bodies(), st.integers(-1, 5))
def test_loops(data, dtype, shape, body, count):
    c, x = (data.draw(arrays(dtype, shape)) for _ in range(2))

    def fn(c, x, count):
        counted = lax.fori_loop(0, count, lambda i, c: body(c, x), c)
        known = lax.fori_loop(1, 3, lambda i, c: body(c, x), c)
        until = lax.while_loop(lambda s: (s[0] < count) & (s[1].size > 0), lambda s: (s[0] + 1, body(s[1], x)), (0, c))
        return counted, known, until

    agree(data, fn, c, x, np.int32(count))


@examples
@given(st.data(), one_of(*DTYPES), shapes(max_rank=2), st.lists(bodies(), min_size=1, max_size=5), st.integers(-2, 6))
def test_branches(data, dtype, shape, branches, index):
    c, x = (data.draw(arrays(dtype, shape)) for _ in range(2))
    agree(data, lambda index, c, x: lax.switch(index, branches, c, x), np.int32(index), c, x)


@examples
@given(st.data(), one_of(*DTYPES), shapes(max_rank=1), bodies(), st.integers(1, 3))
def test_under_vmap(data, dtype, shape, body, batch):
    c, x = (data.draw(arrays(dtype, (batch, *shape))) for _ in range(2))
    counts = data.draw(arrays(np.int32, (batch,)))

    def one(c, x, count):
        moved = lax.while_loop(lambda s: s[0] < count, lambda s: (s[0] + 1, body(s[1], x)), (np.int32(0), c))
        return moved, lax.cond(count > 2, body, lambda c, x: c, c, x), lax.switch(count, [body, lambda c, x: x], c, x)

    agree(data, jax.vmap(one), c, x, counts)
