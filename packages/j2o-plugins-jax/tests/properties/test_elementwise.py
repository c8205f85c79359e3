"""Elementwise operations on all dtypes, with NaN, infinities and overflow."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from .drawing import ALL, FLOATS, INTEGERS, NUMERIC, agree, arrays, examples, one_of, shapes

EXACT = [jnp.abs, jnp.negative, jnp.sign, jnp.square, jnp.isnan, jnp.isfinite, jnp.isinf, jnp.positive]
ROUNDING = [jnp.floor, jnp.ceil, jnp.round, jnp.trunc, lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO)]
SMOOTH = [jnp.sin, jnp.cos, jnp.tanh, jnp.arctan, jnp.arcsinh, jnp.cbrt, lax.erf, lax.erfc, lax.logistic, jnp.expm1]
PARTIAL = [jnp.sqrt, lax.rsqrt, jnp.log, jnp.log1p, jnp.exp, jnp.exp2, jnp.arccos, jnp.arctanh, jnp.reciprocal]
BINARY = [jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, jnp.minimum, lax.rem]
COMPARISONS = [jnp.equal, jnp.not_equal, jnp.less, jnp.less_equal, jnp.greater, jnp.greater_equal]
BITWISE = [jnp.bitwise_and, jnp.bitwise_or, jnp.bitwise_xor]
SHIFTS = [lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic]


@examples
@given(st.data(), arrays(one_of(*NUMERIC), wild=True))
def test_exact_functions_of_one_operand(data, x):
    functions = EXACT + (ROUNDING if x.dtype.kind not in "iu" else [])
    agree(data, lambda x: [fn(x) for fn in functions], x)


@examples
@given(st.data(), arrays(one_of(*FLOATS)))
def test_smooth_functions(data, x):
    agree(data, lambda x: [fn(x) for fn in SMOOTH], x)


@examples
@given(st.data(), one_of(*FLOATS))
def test_functions_outside_their_domain(data, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1.0, 0.5, 2.0], dtype)
    x = x[data.draw(st.permutations(range(len(x))))]
    agree(data, lambda x: [fn(x) for fn in PARTIAL + SMOOTH], x)


@st.composite
def pairs(draw, dtypes, *, wild=True):
    dtype, shape = draw(one_of(*dtypes)), draw(shapes())
    return [draw(arrays(dtype, shape, wild=wild)) for _ in range(2)]


@examples
@given(st.data(), pairs(NUMERIC))
def test_arithmetic(data, operands):
    functions = BINARY + ([lax.div, jnp.floor_divide, jnp.remainder] if operands[0].dtype.kind in "iu" else [lax.div])
    agree(data, lambda x, y: [fn(x, y) for fn in functions], *operands)


@examples
@given(st.data(), pairs(FLOATS, wild=False))
def test_powers_and_angles(data, operands):
    def fn(x, y):
        return jnp.arctan2(x, y), jnp.power(jnp.abs(x) + 0.25, y), jnp.hypot(x, y), lax.integer_pow(x, 3)

    agree(data, fn, *operands)


@examples
@given(st.data(), pairs(ALL))
def test_comparisons(data, operands):
    agree(data, lambda x, y: [fn(x, y) for fn in COMPARISONS], *operands)


@examples
@given(st.data(), pairs((*INTEGERS, np.bool_)))
def test_bits(data, operands):
    def fn(x, y):
        results = [fn(x, y) for fn in BITWISE] + [~x]
        if x.dtype != bool:
            results += [lax.population_count(x), lax.clz(x), *(fn(x, y) for fn in SHIFTS)]
        return results

    agree(data, fn, *operands)


@examples
@given(st.data(), one_of(*ALL), shapes())
def test_choices(data, dtype, shape):
    which, low, x, high = (data.draw(arrays(kind, shape, wild=True)) for kind in (np.bool_, dtype, dtype, dtype))

    def fn(which, low, x, high):
        chosen = [jnp.where(which, low, x), lax.select_n(which.astype(np.int32), low, high)]
        return chosen if dtype == np.bool_ else [*chosen, lax.clamp(low, x, high)]

    agree(data, fn, which, low, x, high)
