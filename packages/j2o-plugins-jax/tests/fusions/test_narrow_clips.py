"""Indices of int32 are clamped and compared before they become int64."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.testing import Spec, check

RNG = np.random.default_rng(0)
ENDS = np.iinfo(np.int32)
INDICES = np.array([0, 1, -1, 8, 9, -9, -10, ENDS.max, ENDS.min, ENDS.min + 1, 10**6], np.int32)


def clips(program):
    return [node.inputs[0].dtype for node in program.model.graph if node.op_type == "Clip"]


@pytest.mark.parametrize("mode", ["clip", "fill", "promise_in_bounds"])
@pytest.mark.parametrize("shape", [(9,), (9, 3)])
def test_gathered(mode, shape):
    indices = INDICES if mode != "promise_in_bounds" else INDICES[:4]
    program = check(lambda x, i: x.at[i].get(mode=mode), Spec(shape), indices)
    assert clips(program) == [ir.DataType.INT32]


@pytest.mark.parametrize("reduction", ["set", "add", "max"])
def test_updated(reduction):
    def fn(x, i, u):
        return getattr(x.at[i], reduction)(u, mode="drop", unique_indices=reduction == "set")

    indices = RNG.permutation(np.concatenate([np.arange(5), INDICES[4:]])).astype(np.int32)
    check(fn, Spec((9, 2)), indices, Spec((len(indices), 2)))


def test_slices_at_symbolic_and_known_places():
    indices = [(number,) for number in INDICES]
    check(lambda i: jax.lax.dynamic_slice(jnp.arange(9.0), (i,), (2,)), Spec((), np.int32), args=indices)
    check(lambda x, i: jax.lax.dynamic_slice(x, (i,), (1,)), Spec(("2*N",)), Spec((), np.int32))


def test_what_needs_64_bits_keeps_them():
    with jax.enable_x64(True):
        wide = np.array([2**40, -(2**40), 3, -1], np.int64)
        program = check(lambda i: jnp.clip(i, 0, 2), wide, opsets=(21,))
        assert set(clips(program)) <= {ir.DataType.INT64}
        limit = 2**33
        program = check(lambda i: jnp.clip(i.astype(jnp.int64), 0, limit), INDICES, opsets=(21,))
        assert set(clips(program)) <= {ir.DataType.INT64}
        check(lambda i, j: i.astype(jnp.int64) == j, INDICES, INDICES.astype(np.int64) + 2**32, opsets=(21,))
        check(lambda i, j: i.astype(jnp.int64) == j.astype(jnp.int64), INDICES, INDICES[::-1].copy(), opsets=(21,))
        check(lambda i: jnp.clip(i.astype(jnp.int64), -5, 7), INDICES, opsets=(18, 21))


@pytest.mark.parametrize("bounds", [(0, np.inf), (-np.inf, 3), (np.nan, 3)])
def test_floats_are_clamped_to_any_bounds(bounds):
    check(lambda x: jnp.clip(x, *map(np.float32, bounds)), Spec((3,)))
