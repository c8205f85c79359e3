"""searchsorted and what is made of it, against JAX: a search of straight code, or the body's loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from j2o_core import to_onnx
from j2o_core.testing import Spec, check

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0]


def table(length, dtype):
    rng = np.random.default_rng(length)
    return np.sort(np.round(4 * rng.standard_normal(length)).astype(dtype))  # with equal numbers


def values(dtype):
    x = np.round(5 * np.random.default_rng(0).standard_normal((6, 10))).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[0, :5] = SPECIAL
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.usefixtures("x64")
def test_places_are_jaxs(dtype, side):
    def fn(x, *tables):
        return [jnp.searchsorted(one, x, side=side) for one in tables]

    tables = [table(length, dtype) for length in (1, 2, 3, 8, 100)]
    check(fn, values(dtype), *tables, opsets=(18, 26), absent=["Loop", "Scan"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("length", [63, 255, 256, 1000, 70_000])
@pytest.mark.usefixtures("x64")
def test_places_of_many_values(dtype, side, length):
    """Tables of as many numbers as steps can tell apart, of one more, and of more than 8 and 16 bits of places."""
    rng = np.random.default_rng(length)
    if np.dtype(dtype).kind == "f":
        a, v = rng.standard_normal(length), rng.standard_normal(300)
        a[:7], v[:5] = [*SPECIAL[:2], *SPECIAL], SPECIAL
    else:
        info = np.iinfo(dtype)
        a, v = rng.integers(-200, 200, length), rng.integers(-210, 210, 300)
        a[:4], v[:3] = (info.min, info.max, info.max, 0), (info.min, info.max, info.max - 1)
    a, v = np.sort(a.astype(dtype)), v.astype(dtype)
    model = to_onnx(lambda v, a: jnp.searchsorted(a, v, side=side), [v, a])
    assert not {"Loop", "Scan"} & {node.op_type for node in model.model.graph}
    np.testing.assert_array_equal(model(v, a), np.searchsorted(a, v, side=side))
    np.testing.assert_array_equal(model(v[::-1], a), np.searchsorted(a, v[::-1], side=side))


def test_few_comparisons_are_made_at_once():
    check(lambda x, a: jnp.searchsorted(a, x), values(np.float32), table(8, np.float32), absent=["GatherElements"])
    many = np.resize(values(np.float32), 2**14 // 8 + 1)
    check(lambda x, a: jnp.searchsorted(a, x), many, table(8, np.float32), contains=["GatherElements"], opsets=(21,))


@pytest.mark.parametrize("side", ["left", "right"])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_places_of_special_numbers_are_numpys(side, data):
    numbers = st.sampled_from([*SPECIAL, 1.0, 3e38, -3e38, 1e-30])
    a = np.sort(np.array(data.draw(st.lists(numbers, min_size=1, max_size=9)), np.float32))
    v = np.array(data.draw(st.lists(numbers, min_size=1, max_size=9)), np.float32)
    np.testing.assert_array_equal(PROGRAMS[len(a), side](v, a), np.searchsorted(a, v, side=side))


class _Programs(dict):
    """Programs by length of the table and side, exported when first needed."""

    def __missing__(self, key):
        length, side = key
        self[key] = to_onnx(lambda v, a: jnp.searchsorted(a, v, side=side), [("N",), (length,)])
        return self[key]


PROGRAMS = _Programs()


A = np.unique(table(40, np.float32))
FUNCTIONS = {
    "interp": lambda x: jnp.interp(x, A, A**2),
    "interp of a period": lambda x: jnp.interp(x, A, A**2, period=3.0),
    "interp under vmap": jax.vmap(lambda x: jnp.interp(x, A, A**2)),
    "gradient of interp": jax.grad(lambda x: jnp.interp(x, A, A**2).sum()),
    "digitize": lambda x: jnp.digitize(x, A),
    "histogram": lambda x: jnp.histogram(x, bins=A)[0],
    "a number": lambda x: jnp.searchsorted(A, x[1, 2]),
    "nothing": lambda x: jnp.searchsorted(A, x[:0]),
    "another method": lambda x: jnp.searchsorted(A, x, method="sort"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_loop(name):
    check(FUNCTIONS[name], np.nan_to_num(values(np.float32), posinf=9, neginf=-9), opsets=(21,), absent=["Loop"])


def test_symbolic_values():
    check(lambda x: jnp.searchsorted(A, x), Spec(("B", 3)), opsets=(21,), absent=["Loop"])


BODIES = {
    "half precision": lambda x, a: jnp.searchsorted(a.astype(np.float16), x.astype(np.float16)),
    "an order": lambda x, a: jnp.searchsorted(a, x, sorter=jnp.argsort(a)),
    "two types": lambda x, a: jnp.searchsorted(a.astype(np.int32), x),
    "tables under vmap": lambda x, a: jax.vmap(jnp.searchsorted)(jnp.stack([a, a + 1]), x[:2]),
}


@pytest.mark.parametrize("name", BODIES)
def test_other_searches_are_jaxs_body(name):
    check(BODIES[name], values(np.float32)[1:], table(10, np.float32), opsets=(21,))


def test_searches_of_constants_are_computed_by_the_export():
    points = np.array([1, 3, -1, 2], np.float32)

    def fn(x):
        places = jnp.searchsorted(jnp.arange(4.0), jnp.full(3, 1.5))
        return x + places, x + jnp.interp(jnp.full(3, 0.5), jnp.arange(4.0), jnp.asarray(points))

    check(fn, Spec((3,)), opsets=(21,), absent=["Greater", "Less", "Gather", "Sum"])


def test_interp_of_one_number():
    with jax.enable_x64(True):
        check(lambda x: jnp.interp(x, jnp.arange(4.0), jnp.asarray([1.0, 3, -1, 2])), Spec((1, 1)), opsets=(21, 24))
