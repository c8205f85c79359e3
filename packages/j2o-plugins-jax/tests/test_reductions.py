"""Reductions: sums, products, extremes, logic, any function; NaN, wrap-around, empty and symbolic axes."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

NUMBERS = (*DTYPES.numeric, *DTYPES.wide)
INTEGERS = (*DTYPES.integers, np.int64, np.uint64)


def _matrix(extremes, dtype, rows=7):
    x = extremes(dtype)
    return x[: x.size // rows * rows].reshape(rows, -1)


@pytest.mark.parametrize("dtype", [*NUMBERS, np.bool_])
def test_extremes(x64, extremes, dtype):
    primitives = (lax.reduce_max_p, lax.reduce_min_p)
    check(
        lambda x: [p.bind(x, axes=axes, out_sharding=None) for p in primitives for axes in ((0,), (1,), (0, 1), ())],
        _matrix(extremes, dtype),
        opsets=(18, 26),
        atol=0,
    )


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_sums_and_products_wrap(x64, extremes, dtype):
    check(
        lambda x: (jnp.sum(x, 0, dtype=dtype), jnp.sum(x, dtype=dtype), jnp.prod(x, 1, dtype=dtype)),
        _matrix(extremes, dtype) | np.array(1, dtype),
        opsets=(21,),
    )


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_float_sums_and_products(x64, dtype):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (4, 5)).astype(dtype)
    check(lambda x: (jnp.sum(x, 0), jnp.prod(x, 1), jnp.sum(x)), x, opsets=(18, 26))


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
def test_logic(x64, extremes, dtype):
    primitives = (lax.reduce_and_p, lax.reduce_or_p, lax.reduce_xor_p)
    check(
        lambda x: [p.bind(x, axes=axes) for p in primitives for axes in ((0,), (0, 1))],
        _matrix(extremes, dtype),
        opsets=(18, 26),
    )


def test_sum_is_one_node():
    program = check(lambda x: jnp.sum(x, 1), Spec(("B", 3)), contains=["ReduceSum"])
    assert len(list(program.model.graph)) == 1


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_empty_axes_give_the_neutral_element(shape):
    check(
        lambda x: (
            jnp.sum(x, 0),
            jnp.prod(x, 1),
            jnp.max(x, 0, initial=-jnp.inf),
            jnp.min(x, 1, initial=jnp.inf),
            jnp.any(x > 0, 0),
            jnp.all(x > 0, 1),
            jnp.sum(x.astype(jnp.int32), 0),
        ),
        Spec(shape),
        opsets=(18, 26),
    )


def test_symbolic_axes():
    def fn(x, i, p):
        xor = lax.reduce(i, np.int32(0), lax.bitwise_xor, (0,))
        return (
            jnp.sum(x, 0),
            jnp.max(x, 0),
            jnp.prod(i, 0),
            jnp.sum(i),
            xor,
            jnp.any(p, 0),
            jnp.all(p),
            jnp.argmax(x, 0),
        )

    check(fn, Spec(("B", 3)), Spec(("B", 3), np.int32), Spec(("B", 2), np.bool_))


def test_any_function_of_several_arrays():
    def fn(x, y):
        def combine(left, right):
            return left[0] + right[0] * 1.0, jnp.maximum(left[1], right[1])

        return lax.reduce((x, y), (np.float32(0), np.float32(-np.inf)), combine, (0, 2))

    check(fn, Spec((3, 4, 6)), Spec((3, 4, 6)), opsets=(21,))
    check(fn, Spec(("B", 4, 2)), Spec(("B", 4, 2)), opsets=(21,), contains=["Scan"])


@pytest.mark.parametrize("shape", [(6, 2), (7, 2), ("B", 2)])
def test_any_function_along_an_axis(shape):
    def hypotenuse(x):
        return lax.reduce(x, np.float32(0), lambda a, b: jnp.sqrt(a * a + b * b), (0,))

    check(lambda x: hypotenuse(jnp.abs(x)), Spec(shape))


# XLA takes an initial value once for all axes, leaves it out for only elements, and gives it for none.
@pytest.mark.parametrize(
    ("shape", "axes", "sizes"),
    [
        ((4, 5), (0,), ()),
        ((4, 5), (0, 1), ()),
        ((0, 3), (0,), ()),
        ((2, 0, 3), (0, 1), ()),
        ((1, 3), (0,), ()),
        ((1, 4, 1), (0, 2), ()),
        ((1, 4, 3), (0, 1), ()),
        (("N", 3), (0,), (0, 1, 3)),
        (("N", 3), (0, 1), (0, 1, 3)),
        (("N", 1, 3), (0, 1), (0, 1, 3)),
        ((2, "N", 3, "M"), (1, 3), (0, 1, 3)),
        ((2, "N", 3, "M"), (1, 2, 3), (0, 1, 3)),
        (("N", "M"), (1,), (0, 1, 3)),
    ],
)
def test_initial_values_that_are_no_identity_elements(shape, axes, sizes):
    def fn(x, y):
        total = lax.reduce(x, np.int32(3), lambda a, b: a + b, axes)
        both = lax.reduce((x, y), (np.int32(2), np.float32(-1)), lambda a, b: (a[0] * b[0], a[1] + b[1]), axes)
        return total, both

    arrays = Spec(shape, np.int32), Spec(shape)
    names = [size for size in shape if isinstance(size, str)]
    check(fn, *arrays, opsets=(21,), sizes=sizes or (1,), constraints=[f"{name} >= 0" for name in names])


def test_no_axes_and_an_initial_value():
    check(lambda x: lax.reduce(x, np.int32(3), lambda a, b: a + b, ()), Spec(("N", 2), np.int32), opsets=(21,))
