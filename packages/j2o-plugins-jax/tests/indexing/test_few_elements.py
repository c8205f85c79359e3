"""One element or row of a small array is updated by a choice for each place: no index has to be made valid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype(np.float32)
PLACES = [np.int32(i) for i in (0, 3, 4, 5, -1, -5, -6, 2**31 - 1, -(2**31))]
REDUCTIONS = ["set", "add", "subtract", "multiply", "min", "max"]
MODES = [None, "clip", "drop", "promise_in_bounds"]
ABSENT = ["ScatterND", "ScatterElements", "Slice", "Concat", "Pad"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mode", MODES)
def test_elements(reduction, mode):
    def fn(x, i):
        return getattr(x.at[i], reduction)(2.0, mode=mode)

    places = [i for i in PLACES if mode != "promise_in_bounds" or -5 <= i < 5]
    check(fn, Spec((5,)), Spec((), np.int32), args=[(X[:, 0], i) for i in places], opsets=(21,), absent=ABSENT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_rows(reduction):
    def fn(x, i, row, column):
        return getattr(x.at[i], reduction)(row), getattr(x.at[:, i], reduction)(column)

    runs = [(X, i, X[1], X[:, 1].copy()) for i in PLACES]
    specs = Spec((5, 4)), Spec((), np.int32), Spec((4,)), Spec((5,))
    check(fn, *specs, args=runs, opsets=(18, 26), absent=ABSENT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mode", MODES[:3])
def test_two_indices(reduction, mode):
    def fn(x, i, j):
        return getattr(x.at[i, j], reduction)(2.0, mode=mode)

    runs = [(X, i, j) for i in PLACES for j in (PLACES[1], PLACES[3], PLACES[5])]
    check(fn, Spec((5, 4)), Spec((), np.int32), Spec((), np.int32), args=runs, opsets=(21,), absent=ABSENT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axes", [(0, 0, 0), (1, 0, 0), (0, 0, None), (None, 0, 0)])
def test_under_vmap(reduction, axes):
    fn = jax.vmap(lambda x, i, v: getattr(x.at[i], reduction)(v), axes)
    batch = 4 if axes[0] == 1 else 5
    x, v = X if axes[0] is not None else X[:, 0], np.float32(2) if axes[2] is None else X[:batch, 0].copy()
    for start in (0, 4):
        check(fn, x, np.array(PLACES[start : start + batch], np.int32), v, opsets=(21,), absent=ABSENT)


def test_rows_and_pairs_under_vmap():
    x = RNG.normal(size=(3, 2, 5, 4)).astype(np.float32)
    i = np.array([[0, 5], [-1, -6], [4, 2]], np.int32)
    rows, numbers = RNG.normal(size=(3, 2, 4)).astype(np.float32), RNG.normal(size=(3, 2)).astype(np.float32)
    both = jax.vmap(jax.vmap(lambda x, i, v: x.at[i].set(v)))
    check(both, x, i, rows, opsets=(21,), absent=ABSENT)
    check(jax.vmap(jax.vmap(lambda x, i, v: x.at[i, -i].add(v))), x, i, numbers, opsets=(21,), absent=ABSENT)
    crossed = jax.vmap(jax.vmap(lambda x, i, v: x.at[i].set(v), (0, 0, 0)), (1, 1, 1))
    check(crossed, x, i, rows, opsets=(21,))


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_dtypes(dtype):
    x = np.array([0, 1, 3, 7, 1]).astype(dtype)
    check(lambda x, i, v: x.at[i].set(v), x, np.int32(3), x[1], opsets=(18, 26), absent=ABSENT)


@pytest.mark.parametrize("reduction", ["add", "multiply", "min", "max"])
def test_booleans_and_overflow(reduction):
    def fn(x, i, v):
        return getattr(x.at[i], reduction)(v)

    if reduction in ("min", "max"):
        check(fn, X[:, 0] > 0, np.int32(3), np.bool_(True), opsets=(21,))
    check(fn, np.array([100, -100, 127], np.int8), np.int32(1), np.int8(-100), opsets=(21,), absent=ABSENT)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint32, np.int16])
def test_dtypes_of_the_index(dtype):
    ends = np.iinfo(dtype)
    runs = [(X[:, 0], dtype(i)) for i in (0, 4, 5, ends.min, ends.max)]
    check(lambda x, i: x.at[i].set(2.0), Spec((5,)), Spec((), dtype), args=runs, opsets=(21,), absent=ABSENT)


def test_infinities_stay_elsewhere():
    x = np.array([np.inf, -np.inf, np.nan, -0.0, 1.0], np.float32)
    for value in (np.float32(-np.inf), np.float32(np.nan), np.float32(0.0)):
        for place in (0, 2, 3):
            runs = x, np.int32(place), value
            check(lambda x, i, v: (x.at[i].add(v), x.at[i].multiply(v), x.at[i].set(v)), *runs, opsets=(21,))


def test_gradients():
    def fn(x, i, v):
        return jax.grad(lambda x, v: jnp.sum(jnp.sin(x.at[i].multiply(v)) * jnp.arange(5.0)), (0, 1))(x, v)

    for place in PLACES[:5]:
        check(fn, X[:, 0].copy(), place, np.float32(2), opsets=(21,))


@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 1), (1, 4)])
def test_axes_of_one(shape):
    runs = [(np.zeros(shape, np.float32), np.int32(i)) for i in (0, 1, -1, -2)]
    check(lambda x, i: x.at[i].set(1.0), Spec(shape), Spec((), np.int32), args=runs, opsets=(21,), absent=ABSENT)


def test_carries_of_loops():
    def fn(x, places):
        return lax.scan(lambda x, i: (x.at[i].add(1), x[i]), x, places)

    check(fn, np.zeros(9, np.int32), np.arange(70, dtype=np.int32) * 7 % 12, opsets=(21,), absent=ABSENT)


APART = {
    "many elements": (lambda x, i: x.at[i].set(1.0), np.zeros(129, np.float32), np.int32(3)),
    "several places": (lambda x, i: x.at[i].set(1.0), np.zeros(9, np.float32), np.array([3, 4], np.int32)),
    "an index inside": (lambda x, i: x.at[jnp.clip(i, 0, 8)].set(1.0), np.zeros((9, 9), np.float32), np.int32(30)),
}


@pytest.mark.parametrize("name", APART)
def test_other_updates(name):
    check(*APART[name], opsets=(21,), contains=["ScatterElements" if name == "several places" else "ScatterND"])
