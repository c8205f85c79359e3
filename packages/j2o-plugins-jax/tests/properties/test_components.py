"""Arithmetic of components of small vectors, put together to vectors again: products of quaternions and the like."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from .drawing import agree, arrays, examples, one_of

COMBINED = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: jnp.where(x > y, x, y),
    lambda x, y: -x,
    lambda x, y: 2 * x,
    lambda x, y: x * 0 + y,
    lambda x, y: jnp.abs(x) + 1,
    lambda x, y: jnp.clip(x, -1, 1),
]


@st.composite
def vectors(draw, sources, size):
    """A function of `sources` vectors of `size` components: a vector whose components are expressions of one form.

    The operands of each operator are drawn for each component, and so is one operator in three.
    """
    terms = draw(st.integers(1, 4))
    forms = [draw(st.integers(0, len(COMBINED) - 1)) for _ in range(terms)]
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    lanes = draw(st.integers(2, 5))
    table = [
        [
            (form if rng.random() < 0.7 else rng.integers(len(COMBINED)), rng.integers(sources), rng.integers(size))
            for form in forms
        ]
        for _ in range(lanes)
    ]
    shared, constant, twice = rng.integers(size), rng.integers(lanes), draw(st.booleans())

    def fn(*args):
        components = []
        for lane, row in enumerate(table):
            value = args[0][shared if twice else lane % size]
            for form, source, place in row:
                value = COMBINED[form](value, args[source][place])
            components.append(value if lane != constant or not twice else jnp.ones_like(value))
        vector = jnp.stack(components, axis=-1)
        return (vector, vector[..., 0] + components[-1]) if twice else vector

    return fn


@examples
@given(st.data(), one_of(np.float32, np.int32, np.float64, np.float16), st.integers(1, 4), vectors(2, 3), st.booleans())
def test_vectors(data, dtype, batch, fn, mapped):
    a, b = (data.draw(arrays(dtype, (batch, 3) if mapped else (3,))) for _ in range(2))
    agree(data, jax.vmap(fn) if mapped else fn, a, b)


@examples
@given(st.data(), one_of(np.float32, np.int32), vectors(2, 3), vectors(2, 3))
def test_vectors_of_vectors(data, dtype, outer, inner):
    def fn(a, b):
        first = jax.tree.leaves(inner(a, b))[0]
        rows = jnp.stack([first, first[::-1], 2 * first])
        return outer(rows, jnp.stack([first, first, -first])), rows[1] * rows[2]

    agree(data, fn, *(data.draw(arrays(dtype, (3,))) for _ in range(2)))
