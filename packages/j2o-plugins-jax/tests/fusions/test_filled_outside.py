"""Places outside an array are read from a frame of the number that fills them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy import ndimage

from j2o_core import to_onnx
from j2o_core.testing import Spec, check

RNG = np.random.default_rng(0)
ENDS = np.array([-(2**31), 2**31 - 1, -1, 0, 1, 4, 5, 6, 7, 8, -5, -7, -8], np.int32)


def places(*shape):
    return RNG.choice(np.array([*ENDS, *range(7)], np.int32), shape)


def image(dtype=np.float32, shape=(5, 7)):
    x = RNG.standard_normal(shape).astype(dtype) if np.dtype(dtype).kind == "f" else RNG.integers(-9, 9, shape, dtype)
    if np.dtype(dtype).kind == "f":
        x.flat[:3] = np.nan, np.inf, -np.inf
    return x


def inside(i, n):
    return (i >= 0) & (i < n)


def two_axes(x, i, j):
    return jnp.where(inside(i, x.shape[0]) & inside(j, x.shape[1]), x[i, j], 0)


SPELLINGS = {
    "two axes": two_axes,
    "the other way round": lambda x, i, j: jnp.where(~(inside(j, 7) & inside(i, 5)), 3.5, x[i, j]),
    "other comparisons": lambda x, i, j: jnp.where((i > -1) & (i <= 4) & inside(j, 7), x[i, j], 1),
    "clipped": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 7), x[jnp.clip(i, 0, 4), jnp.clip(j, 0, 6)], jnp.nan),
    "transposed": lambda x, i, j: jnp.where(inside(j, 5) & inside(i, 7), x.T[i, j], -0.0),
    "one axis": lambda x, i, j: jnp.where(inside(i, 5), x[:, 0][i], 2),
    "a grid": lambda x, i, j: two_axes(x, i[:30, None], j[None, :30]),
    "neighbours": lambda x, i, j: two_axes(x, i, j) + two_axes(x, i + 1, j) * two_axes(x, i + 1, j - 1),
    "pairs": lambda x, i, j: [two_axes(x, i + m, j + n) for m in (0, 1) for n in (0, 1)],
    "pairs of a grid": lambda x, i, j: [two_axes(x, i[:30, None] + m, j[None, :30] + 1) for m in (0, 1)],
    "two apart": lambda x, i, j: two_axes(x, i + 2, j) + two_axes(x, i - 1, j + 1),
    "vmap": lambda x, i, j: jax.vmap(lambda i, j: two_axes(x, i, j))(i, j),
    "three axes": lambda x, i, j: jnp.where(
        inside(i, 5) & inside(j, 7) & inside(i - j, 2), jnp.stack([x, 2 * x], -1)[i, j, i - j], 0
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_numbers_are_jaxs(spelling):
    fn = SPELLINGS[spelling]
    check(fn, image(), places(600), places(600), opsets=(18, 26), contains=["Pad"], absent=["Where"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint32, bool])
@pytest.mark.usefixtures("x64")
def test_dtypes(dtype):
    x = image(np.int32).astype(dtype) if np.dtype(dtype).kind in "bu" else image(dtype)
    check(two_axes, x, places(600), places(600), opsets=(21,))
    check(two_axes, x, places(600).astype(np.int64), places(600), opsets=(21,))


@pytest.mark.usefixtures("x64")
def test_places_of_64_bits():
    far = RNG.choice(np.array([2**32, 2**32 + 1, -(2**32), 2**63 - 1, -(2**63), 0, 3]), 600)
    check(two_axes, image(), far, far[::-1].copy(), opsets=(21,))


def test_sampling_of_images():
    x, at = image(), (12 * RNG.random((2, 600)) - 3).astype(np.float32)
    at[:, :5] = np.nan, np.inf, -np.inf, 2e9, -2e9
    for order in (0, 1):
        check(
            lambda x, at, order=order: ndimage.map_coordinates(x, list(at), order=order),
            x,
            at,
            opsets=(21,),
            contains=["Pad"],
        )


DECLINED = {
    "few places": lambda x, i, j: two_axes(x, i[:300], j[:300]),
    "a part of the axis": lambda x, i, j: jnp.where(inside(i, 4) & inside(j, 7), x[i, j], 0),
    "more than the axis": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 8), x[i, j], 0),
    "places before it": lambda x, i, j: jnp.where((i >= -1) & (i < 5) & inside(j, 7), x[i, j], 0),
    "one end": lambda x, i, j: jnp.where((i >= 0) & inside(j, 7), x[i, j], 0),
    "one axis of two": lambda x, i, j: jnp.where(inside(i, 5), x[i, j], 0),
    "other indices": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 7), x[j, i], 0),
    "a condition beside": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 7) & (i != j), x[i, j], 0),
    "one of the ends": lambda x, i, j: jnp.where(inside(i, 5) | inside(j, 7), x[i, j], 0),
    "several numbers": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 7), x[i, j], jnp.arange(600.0)),
    "numbers of a size": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 7), x[i, j], x[0, 3]),
    "the gathered ones, too": lambda x, i, j: jnp.where(inside(i, 5) & inside(j, 7), x[i, j], 0) + x[i, j],
    "a condition of other numbers": lambda x, i, j: jnp.where((x[0, 4] >= 0) & inside(j, 7), x[i, j], 0),
    "a larger array": lambda x, i, j: two_axes(jnp.tile(x, (20, 20)), i, j),
    "numbers in a row": lambda x, i, j: jnp.where(inside(i, 5)[:, None], x[i], 0),
}


@pytest.mark.parametrize("name", DECLINED)
def test_declines(name):
    check(DECLINED[name], image(), places(600), places(600), opsets=(21,), absent=["Pad"])


def test_places_of_no_known_number():
    check(two_axes, Spec((5, 7)), Spec(("N",), np.int32), Spec(("N",), np.int32), opsets=(21,), absent=["Pad"])


def test_pairs_have_their_places_in_common():
    check(SPELLINGS["pairs"], image(), places(600), places(600), opsets=(21,), contains=["Pad"])
    program = to_onnx(SPELLINGS["pairs"], [image(), places(600), places(600)])
    assert [node.op_type for node in program.model.graph].count("Clip") == 2


def test_a_constant_array():
    x = image()
    program = to_onnx(lambda i, j: two_axes(jnp.asarray(x), i, j), [places(600)] * 2)
    i, j = places(600), places(600)
    np.testing.assert_array_equal(program(i, j), two_axes(jnp.asarray(x), i, j))
