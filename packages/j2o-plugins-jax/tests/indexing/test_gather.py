"""gather against JAX: indexing as people write it, all modes, and any dimension numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype(np.float32)
X3 = RNG.normal(size=(3, 4, 5)).astype(np.float32)
ANY = np.array([3, -2, 9, -9, 0], np.int32)  # inside, negative, and outside on either side
MODES = ["clip", "fill", "promise_in_bounds"]


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_element_types_and_what_they_are_filled_with(dtype):
    check(lambda x, i: (jnp.take(x, i, axis=0), x[i]), (X * 50).astype(dtype), ANY, opsets=(18, 26))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_indices_of_any_integer_type(dtype):
    indices = np.array([0, 1, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype)
    once(lambda x, i: (x[i], jnp.take(x, i, axis=1)), X, indices)


def test_indices_of_64_bits():
    with jax.enable_x64(True):
        once(lambda x, i: (x[i], jnp.take(x, i, axis=0)), X, np.array([1, 2**64 - 1, 2**63], np.uint64))
        once(lambda x, i: (x[i], jnp.take(x, i, axis=0)), X, np.array([1, -(2**63), 2**63 - 1, 2**32], np.int64))


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    def fn(x, i):
        places = [x.at[i], x.at[:, i], x.at[:, i[0]], x.at[i, i], x.at[i[2]], x.at[i[:, None]]]
        return [place.get(mode=mode) for place in places]

    once(fn, X, ANY)


def test_constant_indices_cost_no_clamping():
    once(lambda x: x[np.array([0, 2])], X, contains=["Gather"], absent=["Clip", "Where", "Cast"])
    once(lambda x: x[:, np.array([0, -1])], X, contains=["Gather"], absent=["Clip", "Where", "Cast"])
    once(lambda x: jnp.take(x, np.array([1, 7, -9]), axis=0), X, contains=["Gather"])
    once(lambda x: x[np.array([0, 2])[:, None], np.array([1, 2])], X, contains=["GatherND"])
    once(lambda x: x[1, :, np.array([0, 3])], X3, contains=["Slice", "Gather"], absent=["GatherND"])


@pytest.mark.parametrize("mode", MODES)
def test_many_places_are_numbers_of_one_axis(mode):
    i, j, k = (RNG.integers(-9, 9, (30, 10)).astype(np.int32) for _ in range(3))
    i[0, :2], j[0, :2] = np.iinfo(np.int32).max, np.iinfo(np.int32).min

    def fn(x, i, j, k):
        places = [x.at[i, j, k], x.at[i, j], x.at[:, i, j], x.at[i, :, j], x.at[j[:, :, None], k[:, :, None]]]
        return [place.get(mode=mode) for place in places]

    once(fn, X3, i, j, k, contains=["Gather"], absent=["GatherND"])
    once(lambda x, i: x.at[i, 1].get(mode=mode), X, i, absent=["GatherND"])  # a column
    few = i[0]
    once(lambda x, i, j: x.at[i, j].get(mode=mode), X, few, j[0], contains=["GatherND"])
    once(lambda x: x.at[i, j].get(mode=mode), X, contains=["GatherND"])  # nothing to clamp


def test_common_forms_get_their_operator():
    once(lambda x, i: x[i], Spec(("B", 4)), Spec(("N", 2), np.int32), contains=["Gather"], absent=["GatherND"])
    once(lambda x, i: x[:, i], X3, ANY, contains=["Gather"], absent=["GatherND", "Transpose"])
    along = Spec(("B", 3), np.int32)
    once(lambda x, i: jnp.take_along_axis(x, i, 1), Spec(("B", 4)), along, contains=["GatherElements"])
    once(jax.vmap(lambda x, i: x[i]), X, ANY, contains=["GatherElements"])
    once(jax.vmap(lambda x, i: x[i]), X3, ANY[:3], contains=["GatherND"], absent=["Transpose"])


@pytest.mark.parametrize("index", [ANY, np.array([[1], [-7]], np.int32)])
def test_a_row_for_each_index_under_vmap_is_one_gather(index):
    """`vmap` of a dynamic slice adds a zero for the axis that the row covers."""
    fn = lambda i: jnp.asarray(X)[i]  # noqa: E731
    for _ in index.shape:
        fn = jax.vmap(fn)
    program = once(fn, index, contains=["Gather"], absent=["Concat", "Max", "Min", "Expand"])
    assert sum(node.op_type == "Gather" for node in program.model.graph) == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_along_axis(axis):
    shape = list(X3.shape)
    shape[axis] = 2
    once(lambda x, i: jnp.take_along_axis(x, i, axis), X3, RNG.integers(-7, 7, shape).astype(np.int32))


def test_indexing_by_several_arrays():
    once(lambda x, i, j: (x[i, j], x[i, :, j], x[:, i, j]), X3, ANY, ANY[::-1].copy())
    once(lambda x, i: x[jnp.arange(5), i], X, ANY)
    once(lambda x, i: x[i[:, None], i[None]], X, ANY)


def test_windows_under_vmap():
    once(jax.vmap(lambda x, i: lax.dynamic_slice(x, (i, i), (2, 1))), X3, ANY[:3])
    once(jax.vmap(lambda i: lax.dynamic_slice(X3, (i, 0, i), (2, 4, 3))), ANY)
    once(jax.vmap(lambda x, i: x[:, i], in_axes=(1, 0)), X3, ANY[:4])
    once(jax.vmap(jax.vmap(lambda x, i: x[i])), X3, RNG.integers(-7, 7, (3, 4)).astype(np.int32))
    once(jax.vmap(jax.vmap(lambda x, i: x[i], in_axes=(1, None)), in_axes=(None, 0)), X3[0], ANY)


def test_symbolic_sizes():
    once(lambda x, i: x[i, :, i], Spec(("B", "T", 4)), Spec(("N",), np.int32))
    once(
        jax.vmap(lambda x, i: lax.dynamic_slice(x, (i, 0), (2, x.shape[1]))),
        Spec(("B", 4, "T")),
        Spec(("B",), np.int32),
    )
    once(lambda x, i: jax.vmap(lambda j: lax.dynamic_slice(x, (j,), (x.shape[0] - 1,)))(i), Spec(("T + 2",)), ANY)
    once(lambda x: x[::-1, ::2], Spec(("B", 4)))


@pytest.mark.parametrize("shapes", [((5, 0), (3,)), ((5, 4), (0,)), ((1, 1), (1,))])
@pytest.mark.parametrize("mode", ["clip", "fill"])
def test_empty_and_single(shapes, mode):
    once(lambda x, i: x.at[i].get(mode=mode), Spec(shapes[0]), Spec(shapes[1], np.int32))


def test_one_hot():
    once(lambda i: jax.nn.one_hot(i, 4), ANY)


def test_gradients():
    once(jax.grad(lambda x, i: jnp.sum(jnp.sin(x[i]))), X, ANY)
    once(jax.vmap(jax.grad(lambda x, i: jnp.sin(x[i]))), X, ANY)
    once(jax.grad(lambda x, i: jnp.sum(jnp.nan_to_num(jnp.take(x, i, 1)) ** 2)), X, ANY)


@st.composite
def gathers(draw):
    """An operand's shape, indices and dimension numbers that fit, with windows of any size."""
    rank = draw(st.integers(1, 4))
    shape = [draw(st.integers(1, 4)) for _ in range(rank)]
    batch = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 3)))]
    paired, pairs = [], draw(st.permutations(range(len(batch))))[: draw(st.integers(0, min(len(batch), rank - 1)))]
    free = draw(st.permutations(range(rank)))
    for axis, other in zip(free, pairs, strict=False):
        paired.append((axis, other))
        shape[axis] = batch[other]
    paired.sort()
    rest = sorted(free[len(pairs) :])
    indexed = draw(st.permutations(rest))[: draw(st.integers(0, len(rest)))]
    sizes = [1 if axis in dict(paired) else draw(st.integers(1, shape[axis])) for axis in range(rank)]
    collapsed = [axis for axis in rest if sizes[axis] == 1 and draw(st.booleans())]
    offsets = sorted(
        draw(st.permutations(range(len(batch) + len(rest) - len(collapsed))))[: len(rest) - len(collapsed)]
    )
    vectors = [draw(st.integers(-2, 5)) for _ in range(int(np.prod([*batch, len(indexed)])))]
    indices = np.array(vectors, np.int32).reshape(*batch, len(indexed))
    return shape, indices, sizes, indexed, ([a for a, _ in paired], [b for _, b in paired]), collapsed, offsets


@settings(max_examples=30, deadline=None, derandomize=True)
@given(gathers(), st.sampled_from(["clip", "fill"]), st.booleans())
def test_any_dimension_numbers(case, mode, constant):
    shape, indices, sizes, indexed, paired, collapsed, offsets = case
    numbers = lax.GatherDimensionNumbers(tuple(offsets), tuple(collapsed), tuple(indexed), *map(tuple, paired))
    x = RNG.normal(size=shape).astype(np.float32)
    fn = functools.partial(lax.gather, dimension_numbers=numbers, slice_sizes=tuple(sizes), mode=mode, fill_value=-1)
    if constant:
        once(lambda x: fn(x, jnp.asarray(indices)), x)
    else:
        once(lambda x, i: fn(x, i), x, indices)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.bool_, np.float16])
def test_what_is_filled_in_is_converted(dtype):
    fill = -300
    once(lambda x, i: x.at[i].get(mode="fill", fill_value=fill), (X * 50).astype(dtype), np.array([0, 99], np.int32))
