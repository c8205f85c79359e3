"""Products over any axes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from .drawing import NUMERIC, agree, arrays, examples, one_of


@st.composite
def products(draw):
    """Shapes of two operands, and their contracted and batch axes, each in any order."""
    sizes = st.lists(one_of(0, 1, 2, 3), max_size=2)
    contracted, batch = draw(sizes), draw(sizes)
    shapes, axes = [], []
    for _ in range(2):
        whole = [*contracted, *batch, *draw(sizes)]
        order = draw(st.permutations(range(len(whole))))
        shapes.append(tuple(whole[place] for place in order))
        place_of = [order.index(place) for place in range(len(whole))]
        axes.append((place_of[: len(contracted)], place_of[len(contracted) : len(contracted) + len(batch)]))
    (lhs_contracted, lhs_batch), (rhs_contracted, rhs_batch) = axes
    return shapes, ((lhs_contracted, rhs_contracted), (lhs_batch, rhs_batch))


@examples
@given(st.data(), one_of(*NUMERIC, np.bool_), products())
def test_any_axes(data, dtype, drawn):
    shapes, dimension_numbers = drawn
    operands = [data.draw(arrays(dtype, shape)) for shape in shapes]
    agree(data, lambda lhs, rhs: lax.dot_general(lhs, rhs, dimension_numbers), *operands)


@examples
@given(st.data(), one_of(np.int8, np.uint8, np.int16, np.float16, np.float32), products())
def test_wider_results(data, dtype, drawn):
    shapes, dimension_numbers = drawn
    operands = [data.draw(arrays(dtype, shape)) for shape in shapes]
    wide = data.draw(one_of(np.float32) if np.dtype(dtype).kind == "f" else one_of(np.int32, np.float32))
    agree(data, lambda a, b: lax.dot_general(a, b, dimension_numbers, preferred_element_type=wide), *operands)
