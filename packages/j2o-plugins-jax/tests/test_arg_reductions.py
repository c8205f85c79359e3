"""argmax and argmin: ties, NaN, index types; positions of what is not zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check


@pytest.mark.parametrize("dtype", [*DTYPES.all, *DTYPES.wide])
def test_positions(x64, extremes, dtype):
    x = extremes(dtype)
    x = np.repeat(x[:50].reshape(5, 10), 2, axis=1)  # every extreme twice
    check(
        lambda x: (lax.argmax(x, 1, np.int32), lax.argmin(x, 0, np.uint8), lax.argmin(x, 1, np.int64)),
        x,
        opsets=(18, 26),
    )


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.float64])
def test_the_first_nan_is_both_extremes(x64, dtype):
    x = np.array([[1, np.nan, np.inf, np.nan], [np.inf, -np.inf, 2, np.nan], [-np.inf, 1, 1, 0]], dtype)
    check(lambda x: (lax.argmax(x, 1, np.int32), lax.argmin(x, 1, np.int32)), x, opsets=(18, 26))


@pytest.mark.parametrize(
    ("opset", "shape", "casts"), [(18, (4, 4), 3), (21, (4, 4), 2), (21, (4, 400), 3), (21, ("B", 4), 3)]
)
def test_nan_among_few_numbers_is_a_maximum_of_booleans(opset, shape, casts):
    """One maximum of bytes, between two Casts, is quicker for many. A third Cast is that of the index."""
    x = np.array([[1, np.nan, 2, np.nan], [3, 1, 2, 0], [np.nan, 1, 1, 0], [0, 0, 5, 1]], np.float32)
    x = np.tile(x, (1, 100)) if shape[1] == 400 else x
    program = check(lambda x: lax.argmax(x, 1, np.int32), Spec(shape), args=[(x,)], opsets=(opset,))
    assert [node.op_type for node in program.model.graph].count("Cast") == casts


@pytest.mark.parametrize("shape", [("B", 4), (1, 1), (0, 4)])
def test_shapes(shape):
    check(lambda x: lax.argmax(x, 1, np.int32), Spec(shape))


@pytest.mark.parametrize(
    ("fn", "spec"),
    [
        (lambda x: jnp.nonzero(x > 0, size=4, fill_value=-1), Spec((5, 6))),
        (lambda x: jnp.argwhere(x > 0, size=4), Spec(("N",))),
        (jax.vmap(lambda x: jnp.nonzero(x > 0, size=3)[0]), Spec(("N", 4))),
        (lambda x: jnp.unique(x, size=4), Spec((5,), np.int32)),
        (jax.jit(lambda x: jnp.flatnonzero(x, size=9, fill_value=7)), Spec((5,), np.int32)),
    ],
)
def test_a_known_number_of_positions(fn, spec):
    check(fn, spec, opsets=(21,))


WITHOUT_NAN = {
    "x == x": lambda x, y: jnp.where(x == x, x, -jnp.inf),
    "isnan": lambda x, y: jnp.where(jnp.isnan(x), jnp.inf, x),
    "absolute": lambda x, y: jnp.where(abs(x) == abs(x), abs(x), jnp.inf),
}
WITH_NAN = {
    "another number is NaN": lambda x, y: jnp.where(jnp.isnan(y), 0, x),
    "NaN is chosen": lambda x, y: jnp.where(x == x, 0, x),
    "two numbers are equal": lambda x, y: jnp.where(x == y, x, 0),
    "the other may be NaN": lambda x, y: jnp.where(x == x, x, y),
}


@pytest.mark.parametrize("name", [*WITHOUT_NAN, *WITH_NAN])
def test_what_holds_no_nan_is_not_searched_for_it(name):
    replaced = (WITHOUT_NAN | WITH_NAN)[name]
    random = np.random.default_rng(0)
    x, y = (random.choice(np.array([np.nan, -np.inf, np.inf, 1, 2, 3], np.float32), (40, 6)) for _ in "xy")

    def fn(x, y):
        z = replaced(x, y)
        return jnp.argmax(z, 1), jnp.argmin(z, 1)

    program = check(fn, x, y, opsets=(21,))
    assert ("IsNaN" in [node.op_type for node in program.model.graph]) == (name in WITH_NAN)
