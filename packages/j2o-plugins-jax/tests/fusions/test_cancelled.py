"""Numbers that are added and taken away again leave the graph where no digit, sign or wrap-around depends on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from j2o_core.testing import Spec, check

WORDS = np.array([0, 1, 2**9 - 1, 2**9, 2**31, 2**32 - 1], np.uint32)
FRACTION = np.float32(2.0**-23)


def operators(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32])
def test_integers_wrap_around_both_ways(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, 0, 1, info.max], dtype)
    program = check(lambda x: (x + dtype(info.max)) - dtype(info.max), x, opsets=(21,))
    assert "Sub" not in operators(program)


def test_a_bit_too_many_is_rounded():
    def fn(shift):
        return lambda x: ((x >> shift).astype(jnp.float32) * FRACTION + np.float32(1)) - np.float32(1)

    assert "Sub" not in operators(check(fn(9), WORDS, opsets=(21,)))
    assert "Sub" in operators(check(fn(7), WORDS, opsets=(21,)))


# XLA of jax 0.10 takes float additions together, so that the first one has numbers that do not show it.
OTHERS = {
    "a float": (lambda x: (x + 1) - 1, np.float32([1, 3])),
    "another number": (lambda x: ((x >> 9).astype(jnp.float32) + 1) - 2, WORDS),
    "no multiple": (lambda x: ((x >> 9).astype(jnp.float32) + np.float32(0.1)) - np.float32(0.1), WORDS),
    "negative zero": (lambda x: ((x >> 9).astype(jnp.float32) * np.float32(-0.5) + 1) - 1, WORDS),
    "a broadcast": (lambda x: ((x >> 9).astype(jnp.float32) + np.ones((2, 1), "f")) - np.ones((2, 1), "f"), WORDS),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_floats_keep_both(name):
    fn, x = OTHERS[name]
    assert "Sub" in operators(check(fn, x, opsets=(21,)))


@settings(max_examples=15, deadline=None)
@given(
    scale=st.sampled_from([2.0**-23, 0.5, 3.0, 2.0**-60, 2.0**120]),
    factor=st.sampled_from([0.1, -0.3, 2.0**-60, 1e30, 0.0, np.inf]),
    shift=st.sampled_from([1, 9]),
)
def test_numbers_scaled_twice(scale, factor, shift):
    def fn(x):
        return ((x >> shift).astype(jnp.float32) * np.float32(scale)) * np.float32(factor)

    with np.errstate(all="ignore"):
        check(fn, WORDS, opsets=(21,))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_random_numbers_are_bits_times_a_width(dtype):
    key = jax.random.PRNGKey(3)
    with jax.enable_x64(dtype == np.float64):
        program = check(lambda k: jax.random.uniform(k, (7,), dtype, -0.3, 0.7), key, opsets=(18, 21))
        check(lambda k: jax.random.normal(k, (70,), dtype), key, opsets=(21,))
    assert np.dtype(dtype).itemsize == 2 or not {"Sub", "Max"} & set(operators(program))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zero_is_added_to_what_may_be_negative_zero(zero):
    x = np.array([-0.0, 0.0, 1.0, np.nan], np.float32)
    program = check(lambda x: x + np.float32(zero), x, opsets=(21,))
    assert ("Add" in operators(program)) == (not np.signbit(zero))
    check(lambda x: jnp.abs(x) + np.float32(zero), x, opsets=(21,), absent=["Add"])
    check(lambda x: x + np.zeros((2, 1), "f"), Spec((3,)), opsets=(21,))


@pytest.mark.parametrize("bound", [0.0, -0.0, 0.5, -0.5])
@pytest.mark.parametrize("extreme", [jnp.maximum, jnp.minimum])
def test_bounds_that_no_number_passes(bound, extreme):
    x = np.array([-0.0, 0.0, 1.0, -3.0, np.nan, np.inf], np.float32)
    for fn in (jnp.abs, jnp.sin, lambda x: -jnp.abs(x)):
        check(lambda x, fn=fn: extreme(fn(x), np.float32(bound)), x, opsets=(21,))
    check(lambda x: extreme((x > 0).astype(np.float32), np.float32(bound)), x, opsets=(21,))
