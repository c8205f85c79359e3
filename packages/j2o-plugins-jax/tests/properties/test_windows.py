"""Windows and convolutions with dilations, groups and padding of either sign."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

from .drawing import FLOATS, NUMERIC, agree, arrays, examples, one_of


@st.composite
def windows(draw, rank, least=0):
    """Sizes of an array and of a window along some axes, and how it moves."""
    small = st.integers(1, 3)
    sizes, window = ([draw(number) for _ in range(rank)] for number in (st.integers(1, 6), small))
    params = {
        "padding": [(draw(st.integers(least, 2)), draw(st.integers(least, 2))) for _ in range(rank)],
        "window_strides": [draw(small) for _ in range(rank)],
        "base_dilation": [draw(one_of(1, 1, 2)) for _ in range(rank)],
        "window_dilation": [draw(one_of(1, 1, 2)) for _ in range(rank)],
    }
    for size, span, (low, high), base, apart in zip(
        sizes, window, params["padding"], params["base_dilation"], params["window_dilation"], strict=True
    ):
        assume((size - 1) * base + 1 + low + high >= (span - 1) * apart + 1)
    return sizes, window, params


@examples
@given(st.data(), one_of(*NUMERIC), windows(2))
def test_reductions_over_windows(data, dtype, drawn):
    sizes, window, params = drawn
    x = data.draw(arrays(dtype, tuple(sizes)))
    low, high = (-np.inf, np.inf) if x.dtype.kind not in "iu" else (np.iinfo(dtype).min, np.iinfo(dtype).max)

    def fn(x):
        combinations = ((lax.add, 0), (lax.max, low), (lax.min, high), (lax.mul, 1))
        return [lax.reduce_window(x, np.array(init, x.dtype), op, window, **params) for op, init in combinations]

    agree(data, fn, x)


@examples
@given(st.data(), one_of(*FLOATS), st.integers(1, 3), st.data())
def test_convolutions(data, dtype, rank, more):
    sizes, window, params = more.draw(windows(rank, least=-1))
    groups, batch_groups = data.draw(one_of((1, 1), (2, 1), (1, 2)))
    features, filters = data.draw(one_of(1, 2)), 2 * data.draw(one_of(1, 2))
    lhs = data.draw(arrays(dtype, (2 * batch_groups, features * groups, *sizes)))
    rhs = data.draw(arrays(dtype, (filters, features, *window)))
    params = {
        **{"window_strides": params["window_strides"], "padding": params["padding"]},
        **{"lhs_dilation": params["base_dilation"], "rhs_dilation": params["window_dilation"]},
        **{"feature_group_count": groups, "batch_group_count": batch_groups},
    }
    agree(data, lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **params), lhs, rhs)
