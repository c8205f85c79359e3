"""Reshape, broadcast, squeeze, transpose and rev, with static, symbolic and empty shapes."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

once = functools.partial(check, opsets=(21,), sizes=(1, 3))  # where the opset plays no role


@pytest.mark.parametrize("dtype", [*DTYPES.all, ml_dtypes.float8_e4m3fn])
def test_layout_keeps_every_dtype(dtype):
    def fn(x):
        return lax.rev(jnp.transpose(x.reshape(3, 2, 2), (2, 0, 1)), (0, 2)), jnp.broadcast_to(x[:, None], (3, 5, 4))

    check(fn, Spec((3, 4), dtype), opsets=(21, 26))


@pytest.mark.parametrize(
    ("shape", "target"),
    [((2, 6), (3, 4)), ((6,), (1, 6, 1)), ((1,), ()), ((), (1, 1)), ((0, 3), (3, 0)), ((2, 0), (0,)), ((4, 0), (0, 7))],
)
def test_reshape(shape, target):
    check(lambda x: x.reshape(target) + 1, Spec(shape))


def test_reshape_with_dimensions_transposes_first():
    once(lambda x: lax.reshape(x, (6, 2), dimensions=(2, 0, 1)) + 1, Spec((2, 2, 3)))


def test_symbolic_reshape_needs_no_shape_arithmetic_where_sizes_stay():
    def split_heads(x):
        return x.reshape(x.shape[0], x.shape[1], 2, 4).transpose(0, 2, 1, 3) + 1

    once(split_heads, Spec(("B", "T", 8)), absent=["Shape", "Concat"])
    once(lambda x: x.reshape(x.shape[0], -1) + 1, Spec(("B", "T", 3)), absent=["Shape", "Concat"])


def test_symbolic_reshape_that_mixes_dimensions():
    once(lambda x: x.reshape(-1, 3) + 1, Spec(("B", "T", 3)))
    once(lambda x, y: (x.reshape(-1, 3) @ y).reshape(*x.shape[:2], 2), Spec(("B", "T", 3)), Spec((3, 2)))
    once(lambda x: x.reshape(x.shape[1] // 2, 2, x.shape[0]) + 1, Spec(("B", "2*T")))


def test_chained_reshapes_are_one():
    once(lambda x: x.reshape(6, 2).reshape(2, 2, 3)[None].reshape(3, 4) + 1, Spec((12,)), contains=["Reshape"])
    program = once(lambda x: x.reshape(6, 2).reshape(12) + 1, Spec((12,)))
    assert [node.op_type for node in program.model.graph] == ["Add"]


@pytest.mark.parametrize(
    ("shape", "target", "dimensions"),
    [
        ((3,), (2, 3), (1,)),
        ((3,), (3, 2), (0,)),
        ((1, 3), (4, 2, 3), (0, 2)),
        ((), (2, 3), ()),
        ((2,), (1, 2, 1), (1,)),
        ((3,), (1, 3), (1,)),
        ((1,), (0,), (0,)),
        ((0,), (2, 0), (1,)),
        ((1, 1), (3, 1), (0, 1)),
        ((2, 3), (3, 4, 2), (2, 0)),
        ((2, 1, 4), (4, 2, 3), (1, 2, 0)),
    ],
)
def test_broadcast_in_dim(shape, target, dimensions):
    once(lambda x: lax.broadcast_in_dim(x, target, dimensions), Spec(shape))


def test_broadcast_of_symbolic_sizes():
    once(lambda x: lax.broadcast_in_dim(x, (x.shape[0], 4, 2), (0, 2)), Spec(("B", 2)), absent=["Shape"])
    once(lambda x: jnp.broadcast_to(x, (*x.shape, *x.shape)), Spec(("B", 1)))
    once(lambda x, y: jnp.broadcast_to(y, (x.shape[0], 3)) * 2, Spec(("B", 2)), Spec((3,)))


def test_broadcasts_that_onnx_does_by_itself_leave_no_expand():
    once(lambda x, b: jnp.tanh(x + b), Spec(("B", 4, 3)), Spec((3,)), absent=["Expand"])
    once(lambda x: x + np.arange(3.0, dtype=np.float32), Spec(("B", 4, 3)), absent=["Expand", "Reshape", "Unsqueeze"])
    once(lambda x, b: x * b[:, None], Spec(("B", 4, 3)), Spec((4,)), absent=["Expand"])


@pytest.mark.parametrize("batch", [3, "B"])
def test_squeeze_and_expand_dims(batch):
    check(lambda x: jnp.squeeze(x, (1, 3)) + 1, Spec((batch, 1, 2, 1)), absent=["Shape"])
    check(lambda x: jnp.expand_dims(x, (0, 2, 4)) + 1, Spec((batch, 2)), absent=["Shape"])
    check(
        lambda x: jnp.squeeze(jnp.expand_dims(x, (0, 2)), (0, 2)) + 1, Spec((batch, 2)), absent=["Squeeze", "Reshape"]
    )


def test_transposes_that_cancel_leave_nothing():
    once(lambda x: x.transpose(2, 0, 1).transpose(1, 2, 0) + 1, Spec(("B", 3, 4)), absent=["Transpose"])


@pytest.mark.parametrize("shape", [("B", 4), (0, 4), (1, 1)])
def test_rev(shape):
    once(lambda x: lax.rev(x, (0, 1)), Spec(shape))
    once(lambda x: x[::-1, ::2], Spec(shape))


def test_under_vmap_and_grad():
    def fn(x):
        return jnp.broadcast_to(lax.rev(x.reshape(3, 2), (0,)).T[:, None], (2, 4, 3))

    once(jax.vmap(fn), Spec(("B", 6)))
    once(jax.grad(lambda x: jnp.sum(jnp.sin(fn(x)))), Spec((6,)))


def test_ones_between_symbolic_sizes_settle():
    def outer(x):
        square = jnp.einsum("i,j,k->ijk", x, x, x)[:, None, :, 0]
        return jnp.einsum("i...,j...->ij...", lax.map(jnp.sort, square), square)

    check(outer, Spec(("N",)), opsets=(21,))
