"""Padding: around, between, negative, of empty and symbolic axes."""

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


@pytest.mark.parametrize("dtype", DTYPES.all)
def test_element_types(dtype):
    check(lambda x: lax.pad(x, np.ones((), dtype), [(1, 2, 0), (-1, 1, 1)]), Spec((3, 4), dtype))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_any_padding(data):
    shape, config = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        size, interior = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 2))
        low = data.draw(st.integers(-6, 4))
        inner = size + max(size - 1, 0) * interior
        shape.append(size)
        config.append((low, data.draw(st.integers(max(-6, -inner - low), 6)), interior))
    once(
        lambda x, v: lax.pad(x, v, config),
        np.random.default_rng(0).normal(size=shape).astype(np.float32),
        np.float32(7),
    )


@pytest.mark.parametrize("config", [(1, 2, 0), (-1, 3, 0), (0, 0, 2), (2, -1, 1), (-1, -1, 1)])
def test_symbolic_axes(config):
    once(lambda x: lax.pad(x, np.float32(3), [config, (1, 0, 0)]), Spec(("B + 1", 2)), absent=["Shape"])
    once(lambda x: lax.pad(x, np.float32(3), [(1, 0, 0), config]), Spec(("B", "T + 1")))


def test_symbolic_amounts():
    once(lambda x: jnp.pad(x, ((0, x.shape[0]), (x.shape[0] // 2, 0))), Spec(("B", 4)))
    once(lambda x, y: lax.pad(x, np.float32(0), [(y.shape[0] - x.shape[0], 0, 0)]), Spec(("A",)), Spec(("B",)))


def test_scalars_and_nothing_to_do():
    once(lambda x: lax.pad(x, np.float32(3), []) + 1, Spec(()), absent=["Pad"])
    once(lambda x: lax.pad(x, np.float32(3), [(0, 0, 0)]) + 1, Spec((3,)), absent=["Pad", "Slice"])


def test_under_vmap_and_grad():
    def fn(x, value):
        return lax.pad(x, value, [(1, -1, 2), (-1, 2, 0)])

    once(jax.vmap(fn), Spec(("B", 3, 4)), Spec(("B",)))
    once(jax.grad(lambda x, v: jnp.sum(jnp.sin(fn(x, v))), (0, 1)), Spec((3, 4)), Spec(()))


def test_other_modes_of_jnp_pad():
    for mode in ("edge", "reflect", "wrap", "linear_ramp"):
        once(lambda x, mode=mode: jnp.pad(x, ((1, 2), (0, 3)), mode=mode), Spec((3, 4)))
