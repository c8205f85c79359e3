"""scatter against JAX: updates as people write them, all modes and reductions, and any dimension numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from j2o_core import UnsupportedError
from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype(np.float32)
X3 = RNG.normal(size=(3, 4, 5)).astype(np.float32)
ANY = np.array([3, -2, 9, -9, 0], np.int32)  # index 3 twice, and outside on either side
UNIQUE = np.array([3, 2, 9, -9, 0], np.int32)
REDUCTIONS = ["add", "subtract", "multiply", "min", "max"]


@pytest.mark.parametrize("dtype", DTYPES.numeric)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_of_every_dtype_sum_up_duplicates_and_wrap(reduction, dtype):
    updates = (RNG.normal(size=(5, 4)) * 50).astype(dtype)
    once(lambda x, i, u: getattr(x.at[i], reduction)(u), (X * 60).astype(dtype), ANY, updates)


@pytest.mark.parametrize("opset", [18, 26])
@pytest.mark.parametrize("reduction", ["set", *REDUCTIONS])
def test_opsets(reduction, opset):
    check(lambda x, i: getattr(x.at[i], reduction)(2.0), X, UNIQUE, opsets=(opset,))


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_set_every_dtype(dtype):
    once(lambda x, i, u: x.at[i].set(u), X.astype(dtype), UNIQUE, X[::-1].astype(dtype))


@pytest.mark.parametrize("reduction", ["min", "max"])
def test_bool(reduction):
    once(lambda x, i, u: getattr(x.at[i], reduction)(u), X > 0, ANY, X[::-1] > 0)


def test_wide_dtypes():
    with jax.enable_x64(True):
        for dtype in DTYPES.wide:
            x = (X * 2.0**60).astype(np.float64).astype(np.int64).astype(dtype)
            once(lambda x, i, u: (x.at[i].add(u), x.at[i].max(u)), x, ANY, x[::-1].copy())


@pytest.mark.parametrize("reduction", ["add", "min", "max"])
def test_nan_propagates(reduction):
    x, updates = X.copy(), X[::-1].copy()
    x[0, :2], updates[3] = np.nan, np.nan
    once(lambda x, i, u: getattr(x.at[i], reduction)(u), x, ANY, updates)


@pytest.mark.parametrize("reduction", ["min", "max"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("special", [(), (np.nan,), (np.inf, -np.inf), (np.nan, np.inf, -np.inf)])
@pytest.mark.usefixtures("x64")
def test_nan_among_many(special, dtype, reduction):
    """Of many numbers NaN is looked for in their sum, which infinities of both signs make NaN, too."""
    random = np.random.default_rng(0)
    data, updates = (random.standard_normal(shape).astype(dtype) for shape in [(9, 8), (600, 8)])
    index = random.integers(-12, 12, 600).astype(np.int32)
    for where in (data, updates):
        changed = where.copy()
        changed.flat[random.integers(0, where.size, 2 * len(special))] = [*special, *special]
        args = (changed, updates) if where is data else (data, changed)
        once(lambda x, i, u: getattr(x.at[i], reduction)(u), args[0], index, args[1])
        check(
            lambda x, i, u: getattr(x.at[i], reduction)(u),
            *map(Spec, ((9, 8), ("N",), ("N", 8)), (dtype, np.int32, dtype)),
            args=[(args[0], index, args[1]), (args[0], index[:3], args[1][:3])],
            opsets=(21,),
            contains=["If"],
        )


@pytest.mark.parametrize("reduction", ["set", "add", "max"])
@pytest.mark.parametrize("mode", ["drop", "clip", "promise_in_bounds"])
def test_modes(mode, reduction):
    def fn(x, i):
        def update(at, value):
            return getattr(at, reduction)(value, mode=mode)

        return update(x.at[i], 2.0), update(x.at[:, i], 3.0), update(x.at[i[2]], 4.0), update(x.at[i, i], 5.0)

    once(fn, X, np.array([3, 1, 9, -9, 0] if mode == "drop" else [3, 1, 9, -4, 0], np.int32))


def test_constant_indices_cost_no_checks():
    once(lambda x: x.at[np.array([0, 2])].set(1.0), X, contains=["ScatterND"], absent=["Where", "Pad", "Clip"])
    once(lambda x: x.at[:, 0].set(1.0), X, absent=["Where", "Pad", "Clip"])
    once(lambda x: x.at[:, 1:3].add(1.0), X, absent=["Where", "Pad", "Clip"])
    once(lambda x: x.at[7].set(1.0), X)


def test_scatter_under_vmap():
    u = RNG.normal(size=(3, 2, 5)).astype(np.float32)
    indices = RNG.integers(-5, 6, (3, 2)).astype(np.int32)
    once(jax.vmap(lambda x, i, u: x.at[i].add(u)), X3, indices, u)
    once(jax.vmap(lambda x, i, u: x.at[i].set(u)), X, UNIQUE, X[:, 0])
    once(jax.vmap(lambda i, u: jnp.asarray(X3).at[i].add(u)), ANY[:3], X3)
    once(jax.vmap(lambda x, i, u: lax.dynamic_update_slice(x, u, (i, i))), X3, ANY[:3], u[:, :, :2])
    once(jax.vmap(lambda x, i: x.at[:, i].mul(2.0), in_axes=(1, None)), X3, ANY)


def test_by_element():
    once(
        lambda x, i: jnp.put_along_axis(x, i, 1.0, axis=1, inplace=False),
        X,
        np.array([[0], [1], [3], [2], [9]], np.int32),
    )
    along = RNG.integers(0, 4, (5, 3)).astype(np.int32)

    def loss(x, i):
        return jnp.sum(jnp.take_along_axis(x, i, 1) ** 2)

    once(jax.grad(loss), X, along, contains=["ScatterElements"])
    once(jax.grad(loss), Spec(("B", 4)), Spec(("B", 3), np.int32), contains=["ScatterElements"])


def test_symbolic_sizes():
    i = Spec(("N",), np.int32)
    once(lambda x, i, u: x.at[i].add(u), Spec(("B", 4)), i, Spec(("N", 4)))
    once(lambda x, i, u: x.at[:, i].add(u), Spec(("B", 4)), i, Spec(("B", "N")))
    once(jax.vmap(lambda x, i, u: x.at[i].max(u)), Spec(("B", 4)), Spec(("B", 3), np.int32), Spec(("B", 3)))
    once(lambda x, u: x.at[1:3].set(u), Spec((5, "B")), Spec((2, "B")))


@pytest.mark.parametrize("shapes", [((0, 4), (3,)), ((5, 0), (3,)), ((5, 4), (0,)), ((1, 1), (1,))])
def test_empty_and_single(shapes):
    once(lambda x, i: (x.at[i].set(1.0), x.at[i].add(1.0)), Spec(shapes[0]), Spec(shapes[1], np.int32))


def test_apply_uses_the_function_once_per_index():
    def twice(v):
        return 2 * v + 1

    once(lambda x, i: x.at[i].apply(twice), X, np.int32(3))
    once(lambda x, i: x.at[i].apply(twice), X, np.array([1, 1, 8], np.int32))
    once(lambda x, i: x.at[i].apply(twice, unique_indices=True), X, np.array([1, 8, 2], np.int32))


def test_apply_under_vmap_and_with_symbolic_sizes():
    def twice(v):
        return 2 * v + 1

    i = RNG.integers(-5, 6, (3, 4)).astype(np.int32)
    once(jax.vmap(lambda x, i: x.at[i].apply(twice)), X3, i)
    once(jax.vmap(lambda x, i: x.at[:, i].apply(twice), in_axes=(2, 0)), X3, np.repeat(i[:1], 5, 0))
    once(lambda x, i: x.at[i].apply(twice), Spec(("B", 4)), Spec(("N",), np.int32))
    once(jax.vmap(lambda x, i: x.at[i].apply(twice)), Spec(("B", 4)), Spec(("B", 3), np.int32))
    once(lambda x, i: x.at[i].apply(jnp.sqrt, mode="clip"), abs(X), ANY)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, np.uint8])
@pytest.mark.parametrize("width", [1, 2])
def test_many_updates_of_few_rows(reduction, dtype, width):
    """Those outside go to a spare row, which is cut off again: a choice among them would cost more."""
    index = RNG.integers(-9, 9, (40, width)).astype(np.int32)
    updates = (RNG.normal(size=(40, 4) if width == 1 else (40,)) * 3).astype(dtype)
    if np.dtype(dtype).kind == "f":
        updates.flat[5], updates.flat[9] = np.nan, np.inf

    def fn(x, i, u):
        return getattr(x.at[tuple(i.T)], reduction)(u)

    once(fn, (X * 3).astype(dtype), index, updates, contains=["Pad", "Slice"])


def test_segments_and_counts():
    segments = np.array([0, 1, 1, 2, 7], np.int32)
    once(lambda x, i: jax.ops.segment_sum(x, i, 3), X, segments)
    once(lambda x, i: jax.ops.segment_max(x, i, 3), X, segments)
    once(lambda i: jnp.bincount(i, length=5), segments)


def test_gradients_of_updates():
    def loss(x, u, i):
        return jnp.sum(jnp.sin(x.at[i].set(u)) + x.at[i].add(u) ** 2 + x.at[i].multiply(u, unique_indices=True))

    once(jax.grad(loss, (0, 1)), X, X[::-1].copy(), np.array([3, 2, 9, 4, 0], np.int32))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_any_dimension_numbers(data):
    rank = data.draw(st.integers(1, 4))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    batch = [data.draw(st.integers(1, 3)) for _ in range(data.draw(st.integers(0, 3)))]
    order = data.draw(st.permutations(range(rank)))
    others = data.draw(st.permutations(range(len(batch))))[: data.draw(st.integers(0, min(len(batch), rank - 1)))]
    paired = sorted(zip(order, others, strict=False))
    for axis, other in paired:
        shape[axis] = batch[other]
    rest = sorted(order[len(others) :])
    # At least one axis is indexed: for several updates without an index XLA itself adds up only one of them.
    indexed = data.draw(st.permutations(rest))[: data.draw(st.integers(1, len(rest)))]
    sizes = [1 if axis in dict(paired) else data.draw(st.integers(1, shape[axis])) for axis in range(rank)]
    inserted = [axis for axis in rest if sizes[axis] == 1 and data.draw(st.booleans())]
    window = [sizes[axis] for axis in rest if axis not in inserted]
    places = sorted(data.draw(st.permutations(range(len(batch) + len(window))))[: len(window)])
    windows, batches = iter(window), iter(batch)
    update_shape = [next(windows) if place in places else next(batches) for place in range(len(batch) + len(window))]
    count = int(np.prod([*batch, len(indexed)]))
    vectors = [data.draw(st.integers(-1, 4)) for _ in range(count)]
    indices = np.array(vectors, np.int32).reshape(*batch, len(indexed))
    numbers = lax.ScatterDimensionNumbers(
        tuple(places), tuple(inserted), tuple(indexed), tuple(a for a, _ in paired), tuple(b for _, b in paired)
    )
    x, updates = (RNG.normal(size=size).astype(np.float32) for size in (shape, update_shape))
    # Where updates overlap any order is right, so they are set to one and the same value.
    scatter, updates = data.draw(
        st.sampled_from([(lax.scatter_add, updates), (lax.scatter_max, updates), (lax.scatter, np.ones_like(updates))])
    )
    fn = functools.partial(scatter, dimension_numbers=numbers, mode=data.draw(st.sampled_from(["clip", "drop"])))
    if data.draw(st.booleans()):
        once(lambda x, u: fn(x, jnp.asarray(indices), u), x, updates)
    else:
        once(lambda x, i, u: fn(x, i, u), x, indices, updates)


def test_apply_where_there_may_be_no_element():
    x = np.arange(-3, 4, dtype=np.float32)
    with pytest.raises(UnsupportedError, match=r"constraints="):
        check(lambda x: jnp.diff(x).at[4].apply(jnp.abs), Spec(("N",)))
    check(lambda x: jnp.diff(-x).at[4].apply(jnp.abs), Spec(("N",)), constraints=["N >= 6"], sizes=(6, 7))
    once(lambda x: jnp.diff(-x).at[4].apply(jnp.abs), x)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8, np.uint32])
@pytest.mark.parametrize("reduction", ["add", "max", "mul"])
def test_many_updates_at_indices_of_every_type(dtype, reduction):
    """Negative ones and those beyond go to a spare row: as unsigned numbers both are at least its number."""
    ends = np.iinfo(dtype)
    indices = np.array([0, 2, 1, 2, 3, 4, ends.max, ends.min, ends.max - 1, ends.min + 1, 127, 3], dtype)
    numbers = lax.GatherScatterMode.FILL_OR_DROP
    update = {"add": lax.scatter_add, "max": lax.scatter_max, "mul": lax.scatter_mul}[reduction]
    dims = lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    fn = lambda x, i, u: update(x, i[:, None], u, dims, mode=numbers)  # noqa: E731
    check(fn, Spec((3, 2)), indices, Spec((12, 2)))
    check(lambda x, i, u: getattr(x.at[i], reduction)(u), Spec((3, 2)), indices, Spec((12, 2)), opsets=(21,))


def test_many_updates_of_windows_and_of_numbers():
    """A window that reaches over the end is outside, though its start is not."""
    dims = lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,)
    )
    indices = np.array([[0], [2], [3], [-1], [4], [-(2**31)], [2**31 - 1], [1]], np.int32)
    check(lambda x, i, u: lax.scatter_add(x, i, u, dims), Spec((4,)), indices, Spec((8, 2)), opsets=(18, 21))
    check(lambda i, u: jax.ops.segment_sum(u, i, 3), indices[:, 0], Spec((8,)), opsets=(21,))
    check(lambda i, u: jax.ops.segment_max(u, i, 3), Spec(("N",), np.int32), Spec(("N", 2)), opsets=(21,))
