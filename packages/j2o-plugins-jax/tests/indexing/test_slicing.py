"""Slices and their updates: static, strided, with run-time starts that are clamped, with symbolic sizes."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role
RNG = np.random.default_rng(0)


def _random(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_element_types(dtype):
    def fn(x, update, i):
        return x[1:, ::2], lax.dynamic_slice(x, (i, i), (2, 3)), lax.dynamic_update_slice(x, update, (i, i))

    check(fn, Spec((5, 4), dtype), Spec((2, 3), dtype), np.int32(2), args=None, opsets=(18, 26))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_static_slice(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)))
    limits = [data.draw(st.integers(0, size)) for size in shape]
    starts = [data.draw(st.integers(0, limit)) for limit in limits]
    strides = [data.draw(st.integers(1, 3)) for _ in shape]
    once(lambda x: lax.slice(x, starts, limits, strides), _random(*shape))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_dynamic_slice_and_update(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)))
    sizes = tuple(data.draw(st.integers(0, size)) for size in shape)
    starts = np.array([data.draw(st.integers(-7, 7)) for _ in shape], np.int32)
    x, update = _random(*shape), _random(*sizes)
    once(lambda x, starts: lax.dynamic_slice(x, [*starts], sizes), x, starts)
    once(lambda x, update, starts: lax.dynamic_update_slice(x, update, [*starts]), x, update, starts)


@pytest.mark.parametrize("start", [-9, -1, 0, 2, 9])
def test_starts_are_clamped(start):
    x, i = _random(6, 5), np.int32(start)
    once(lambda x, i: lax.dynamic_slice(x, (i, i), (3, 1)), x, i)
    once(lambda x, i: lax.dynamic_index_in_dim(x, i, 1, keepdims=False), x, i, contains=["Gather"])
    once(lambda x, i: lax.dynamic_update_index_in_dim(x, jnp.ones(6), i, 1), x, i)
    once(lambda x: lax.dynamic_slice(x, (np.int32(start), 0), (3, 5)), x, absent=["Clip", "Gather"])
    once(lambda x, u: lax.dynamic_update_slice(x, u, (np.int32(start), 0)), x, _random(3, 5), absent=["Clip"])


def test_a_start_that_is_an_element_of_an_array():
    starts = np.array([[3, -2, 9]], np.int32)
    for column in range(3):
        once(lambda x, i, c=column: lax.dynamic_slice_in_dim(x, i[0, c], 2), _random(6, 5), starts)
        once(lambda x, i, c=column: lax.dynamic_slice_in_dim(x, i[0, c] % 3 + 1, 2), _random(6, 5), starts)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.uint32])
def test_starts_of_any_integer_type(dtype):
    start = np.array(np.iinfo(dtype).max, dtype)
    once(lambda x, i: lax.dynamic_slice(x, (i, i), (2, 3)), _random(6, 5), start)


def test_parts_of_few_elements_are_one_split():
    def fn(x):
        return x[:, 1:2], x[:, 4:6] + x[:, 2:4], x[:, 5:]

    check(fn, np.arange(14, dtype=np.float32).reshape(2, 7), contains=["Split"], opsets=(21,))
    check(fn, Spec(("B", 7)), absent=["Split"], opsets=(21,))


def test_starts_of_64_bits():
    with jax.enable_x64(True):
        for start in (np.uint64(2**64 - 1), np.int64(-(2**63)), np.int64(2**63 - 1)):
            once(lambda x, i: lax.dynamic_slice(x, (i, i), (2, 3)), _random(6, 5), start)


def test_symbolic_sizes():
    once(lambda x: x[:, 1:3], Spec(("B", 4)), absent=["Shape", "Gather"])
    once(lambda x: x[:, 1:, ::2] + x[:, :-1, ::2], Spec(("B", "T + 1", 5)), absent=["Shape"])
    once(lambda x: (x[:, 0], x[:, -1]), Spec(("B", 4, 5)), absent=["Shape", "Gather"])
    once(lambda x: x[:, -1], Spec(("B", "T")))
    once(lambda x: x[: x.shape[0] // 2], Spec(("2*B", 3)))
    once(lambda x, i: lax.dynamic_slice(x, (i, 0), (x.shape[0] - 1, 3)), Spec(("B + 1", 3)), np.int32(1))
    once(lambda x, y, i: lax.dynamic_update_slice(x, y, (0, i)), Spec(("B", 4)), Spec(("B", 2)), np.int32(9))


def test_a_row_is_written_by_scatter_and_columns_by_concat():
    once(lambda x, row, i: lax.dynamic_update_slice(x, row, (i, 0)), _random(64, 8), _random(1, 8), np.int32(5))
    program = once(lambda x, u, i: lax.dynamic_update_slice(x, u, (0, i)), _random(8, 6), _random(8, 4), np.int32(1))
    assert "Concat" in {node.op_type for node in program.model.graph}


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES.all)
def test_a_cache_is_written_by_tensor_scatter(dtype, axis):
    """At runs of several batch sizes, with starts that are clamped at both ends."""
    sizes = [3, 4, 5]
    fewer = [size - (place == axis) for place, size in enumerate(sizes, 1)]

    def fn(x, update, start):
        return lax.dynamic_update_slice(x, update, [start if place == axis else 0 for place in range(4)])

    arrays = [RNG.integers(0, 2, (batch, *shape)).astype(dtype) for batch in (0, 1, 3) for shape in (sizes, fewer)]
    check(
        fn,
        *(Spec(("B", *sizes), dtype), Spec(("B", *fewer), dtype), Spec((), np.int32)),
        args=[(x, u, np.int32(i)) for x, u in zip(arrays[::2], arrays[1::2], strict=True) for i in (-9, 0, 1, 9)],
        opsets=(24,),
        contains=["TensorScatter"],
        absent=["Concat", "ScatterND"],
    )


def test_a_cache_of_any_capacity():
    def fn(x, update, start):
        return lax.dynamic_update_slice(x, update, (0, 0, start, 0))

    specs = Spec(("B", 2, "C", 5)), Spec(("B", 2, "T", 5)), Spec((), np.int32)
    runs = [
        (_random(2, 2, capacity, 5), _random(2, 2, tokens, 5), np.int32(start))
        for capacity, tokens in ((6, 4), (6, 1), (3, 3))
        for start in (-9, -1, 0, 1, 5, 9)
    ]
    constraints = ["C >= T"]
    check(fn, *specs, args=runs, opsets=(24, 26), constraints=constraints, contains=["TensorScatter"])
    check(fn, *specs, args=runs, opsets=(23,), constraints=constraints, absent=["TensorScatter"])


def test_tensor_scatter_cannot_cut_the_first_axis_nor_two():
    x, starts = _random(6, 5), np.array([2, 1], np.int32)
    for update in (_random(2, 5), _random(2, 3)):
        check(
            lambda x, u, s: lax.dynamic_update_slice(x, u, (s[0], s[1])),
            *(x, update, starts),
            opsets=(24,),
            absent=["TensorScatter"],
        )


def test_under_vmap_and_grad():
    def fn(x, i):
        return lax.dynamic_update_slice(x, lax.dynamic_slice(x, (i, 1), (2, 3)) * 2, (0, i))

    starts = np.array([-3, 0, 7], np.int32)
    once(jax.vmap(fn), _random(3, 5, 4), starts)
    once(jax.grad(lambda x, i: jnp.sum(jnp.sin(fn(x, i)))), _random(5, 4), np.int32(2))
    once(jax.vmap(jax.grad(lambda x, i: jnp.sum(jnp.sin(fn(x, i))))), _random(3, 5, 4), starts)


@pytest.mark.parametrize("dtype", DTYPES.all)
@pytest.mark.parametrize(
    ("shape", "sizes"), [((2**15,), (1,)), ((40000,), (3,)), ((90, 400), (2, 3)), ((50, 6, 200), (2, 1, 3))]
)
def test_a_few_elements_are_set_where_they_lie(dtype, shape, sizes):
    """ScatterElements, which writes in place if nothing else reads the array; ScatterND copies it."""
    starts = [np.array([place] * len(shape), np.int32) for place in (0, 1, 7, -3, 1000)]
    fn = lambda x, u, i: lax.dynamic_update_slice(x, u, tuple(i))  # noqa: E731
    rng = np.random.default_rng(0)
    runs = [(*(rng.integers(0, 2, size).astype(dtype) for size in (shape, sizes)), start) for start in starts]
    specs = Spec(shape, dtype), Spec(sizes, dtype), Spec((len(shape),), np.int32)
    check(fn, *specs, args=runs, opsets=(18, 21), contains=["ScatterElements"], absent=["ScatterND"])


def test_a_row_of_many_elements_one_of_few_and_one_of_float8_are_set_by_scatter():
    element = lambda x, u: lax.dynamic_update_slice(x, u, (3,))  # noqa: E731
    narrow = ml_dtypes.float8_e4m3fn
    check(element, Spec((2**15,), narrow), Spec((1,), narrow), opsets=(21,), absent=["ScatterElements"])
    fn = lambda x, u: lax.dynamic_update_slice(x, u, (3, 0))  # noqa: E731
    check(fn, Spec((900, 65)), Spec((1, 65)), opsets=(21,), contains=["ScatterND"])
    check(fn, Spec((90, 20)), Spec((1, 20)), opsets=(21,), contains=["ScatterND"])
