"""Conversions of many floats to integers saturate where a number is out of range, and are a Cast where none is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

EDGES = [2.0**30, -(2.0**30), 2.0**31, -(2.0**31), 2147483520.0, 2147483647.0, 3e38, -3e38]


def choices(program):
    return sum(node.op_type == "If" for node in program.model.graph)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("special", [(), *[(edge,) for edge in EDGES], (np.nan,), (np.inf, -np.inf), (np.nan, np.inf)])
@pytest.mark.usefixtures("x64")
def test_many_numbers(special, dtype):
    x = (np.random.default_rng(0).standard_normal((40, 30)) * 1000).astype(dtype)
    x.flat[: len(special)] = special
    assert choices(check(lambda x: x.astype(np.int32), x, opsets=(18, 21))) == 1


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision(dtype):
    x = np.array([1, -1.5, np.nan, np.inf, -np.inf, 60000.0] * 200).astype(dtype)
    check(lambda x: x.astype(np.int32), x, opsets=(21,))


def test_others_are_clamped():
    assert choices(check(lambda x: x.astype(np.int32), Spec((20, 10)), opsets=(21,))) == 0
    assert choices(check(lambda x: x.astype(np.uint32), Spec((2000,)), opsets=(21,))) == 0
    assert choices(check(lambda x: x.astype(np.int8), Spec((2000,)), opsets=(21,))) == 0


def test_indices_in_loops_and_batches():
    def fn(x, at):
        return jax.lax.fori_loop(0, 3, lambda i, y: y + x[(at * y).astype(np.int32)], at)

    check(jax.vmap(fn), Spec((2, 8)), Spec((2, 600)), opsets=(21,), unroll=False)
    check(lambda x: x.astype(np.int32), Spec(("N", 600)), opsets=(21,))
