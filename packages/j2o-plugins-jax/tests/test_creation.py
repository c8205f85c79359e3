"""iota, empty arrays and sizes as values."""

import functools
import tracemalloc

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role


@pytest.mark.parametrize("dtype", DTYPES.numeric)
def test_iota_of_a_symbolic_size(dtype):
    once(lambda x: lax.broadcasted_iota(dtype, (2, x.shape[0]), 1), Spec(("B",)))


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_iota_along_any_axis(dimension):
    check(lambda x: lax.broadcasted_iota(np.int32, (*x.shape, 4), dimension) * 2, Spec(("B", "T")))
    check(lambda x: lax.broadcasted_iota(np.float32, (2, 3, 4), dimension) + x, Spec((2, 3, 4)))


def test_long_float_ranges_do_not_accumulate_rounding_errors():
    once(lambda x: jnp.arange(x.shape[0], dtype=np.float32) * 0.1, Spec(("B",)), sizes=(40000,), rtol=0, atol=0)


def test_narrow_integers_wrap_and_narrow_floats_round():
    once(lambda x: lax.iota(np.int8, x.shape[0]), Spec(("B",)), sizes=(300,))
    once(lambda x: lax.iota(ml_dtypes.bfloat16, x.shape[0]), Spec(("B",)), sizes=(300,))


def test_sizes_as_values():
    once(lambda x: jnp.sum(x, 0) / x.shape[0], Spec(("B", 3)))
    once(lambda x: x * (x.shape[1] // 2 - 1), Spec(("B", "T"), np.int32))


def test_full_and_eye():
    check(lambda x: (jnp.full(x.shape, 2.5), jnp.zeros_like(x), jnp.eye(x.shape[0])), Spec(("B", 3)))


def test_empty_is_zero_as_in_jax():
    once(lambda x: lax.empty((2, 3), np.float32) + x, Spec((3,)))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, jnp.bfloat16])
def test_long_ranges_are_left_to_the_graph(dtype):
    """A range larger than a folded constant may be is counted by the runtime."""
    program = once(lambda x: jnp.arange(400_000).astype(dtype)[-7:] + x, Spec((7,), dtype), contains=["Range"])
    assert sum(value.const_value.nbytes for value in program.model.graph.initializers.values()) < 1000


def test_long_ranges_are_not_made_on_the_way():
    tracemalloc.start()
    j2o_core.to_onnx(lambda x: x + jnp.arange(10_000_000, dtype=np.float32).sum(), [(1,)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
