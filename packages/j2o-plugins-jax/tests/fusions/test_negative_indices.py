"""Indices that count from the end are left to Gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

INDICES = np.array([0, -1, -7, -8, 6, 7, 3, -(2**31), 2**31 - 1], np.int32)
X = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)

# The expression, and the operators beside Cast, Clip and Gather.
SPELLINGS = {
    "indexing": (lambda x, i: x[i], []),
    "along the last axis": (lambda x, i: x.T[:, i], ["Transpose"]),
    "two arrays": (lambda x, i: x[i] - (2 * x)[i], ["Mul", "Sub"]),
    "clipped": (lambda x, i: x.at[i].get(mode="clip"), []),
    "filled": (lambda x, i: jnp.take(x, i, axis=0), ["Equal", "Reshape", "Where"]),
    "vmap": (lambda x, i: jax.vmap(lambda j: x[j])(i), []),
    "jit": (lambda x, i: jax.jit(lambda x, i: x[i])(x, i), []),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("opset", [18, 21, 26])
def test_are_clipped_once(spelling, opset):
    fn, others = SPELLINGS[spelling]
    program = check(fn, X, INDICES, opsets=(opset,))
    found = {node.op_type for node in program.model.graph} - {"Cast", "Clip", "Gather", "Xor"}
    assert found == set(others)
    check(fn, Spec((7, "C")), Spec(("B",), np.int32), opsets=(opset,))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_declines_indices_that_are_cut_to_32_bits(spelling):
    with jax.enable_x64(True):
        check(SPELLINGS[spelling][0], X, np.array([*INDICES, 2**32 + 1, -(2**32) - 1, -(2**63)]), opsets=(21,))


def test_along_an_axis():
    program = check(lambda x, i: jnp.take_along_axis(x, i, axis=0), X, INDICES[:, None] * np.ones(3, np.int32))
    assert {node.op_type for node in program.model.graph} <= {"Cast", "Clip", "GatherElements", "Equal", "Where", "Xor"}


@pytest.mark.parametrize("shape", [(), (0,), (2, 1, 3)])
def test_shapes(shape):
    index = np.full(shape, -2, np.int32)
    check(lambda x, i: x[i], X, index, absent=["Less"] if index.size else [])


def test_a_size_of_one():
    check(lambda x, i: x[i], X[:1], INDICES)


def test_derivative():
    check(jax.grad(lambda x, i: (x[i] ** 2).sum()), X, INDICES[:5], opsets=(21,))


def test_inside_a_loop():
    check(lambda x, i: lax.scan(lambda c, j: (c + x[j], x[i]), x[0], i)[0], X, INDICES[:5], opsets=(21,))


@pytest.mark.parametrize(
    "other",
    [
        lambda x, i: x[jnp.where(i < 0, i + 6, i)],
        lambda x, i: x[jnp.where(i < 0, i + 8, i)],
        lambda x, i: x[jnp.where(i < 1, i + 7, i)],
        lambda x, i: x[jnp.where(i < 0, i + 7, i + 1)],
        lambda x, i: x[jnp.where(i[::-1] < 0, i + 7, i)],
        lambda x, i: x[jnp.where(i < 0, i - 7, i)],
        lambda x, i: x[jnp.clip(jnp.where(i < 0, i + 7, i), 0, 5)],
        lambda x, i: x[jnp.clip(jnp.where(i < 0, i + 7, i), 1, 6)],
        lambda x, i: x[jnp.where(i < 0, i + jnp.arange(7, 16), i)],
        lambda x, i: x[jnp.where(jnp.full((2, 1), True) & (i < 0), i + 7, i)],
    ],
    ids=["less", "more", "below one", "another index", "order", "minus", "upper end", "lower end", "array", "larger"],
)
def test_other_indices(other):
    check(other, X, INDICES, opsets=(21,))


def test_declines_other_uses():
    def fn(x, i):
        place = jnp.clip(jnp.where(i < 0, i + 7, i), 0, 6)
        return x.at[place].get(mode="promise_in_bounds"), place

    check(fn, X, INDICES, opsets=(21,))


def test_declines_narrow_indices():
    x = np.arange(100, dtype=np.float32)
    check(lambda x, i: x[jnp.where(i < 0, i + np.int8(100), i)], x, np.arange(-128, 127, dtype=np.int8), opsets=(21,))


def test_declines_unknown_sizes():
    check(lambda x, i: x[i], Spec(("B", 3)), np.array([0, -1, -2, 1, 5, -9], np.int32), contains=["Less"])
