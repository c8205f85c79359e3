"""`jax.image`: every method, up and down, along any axes, batched and differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core.testing import Spec, check

METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")
SHAPE = (2, 7, 6, 3)
# Larger, larger and smaller, along other axes, and to one pixel.
TARGETS = [(2, 13, 11, 3), (2, 9, 4, 3), (3, 4, 6, 5), (2, 1, 1, 3)]
all_methods = pytest.mark.parametrize("method", METHODS)
with_and_without_antialias = pytest.mark.parametrize("antialias", [True, False])


@all_methods
@with_and_without_antialias
@pytest.mark.parametrize("target", TARGETS)
def test_resize(method, antialias, target):
    check(lambda x: jax.image.resize(x, target, method, antialias=antialias), Spec(SHAPE), opsets=(18,))


@all_methods
@with_and_without_antialias
def test_resize_of_batches_of_any_size(method, antialias):
    def resize(x):
        return jax.image.resize(x, (x.shape[0], 4, 9, 3), method, antialias=antialias)

    check(resize, Spec(("B", 7, 6, 3)), sizes=(1, 3))


@all_methods
def test_resize_under_vmap(method):
    check(jax.vmap(lambda x: jax.image.resize(x, (4, 9), method)), Spec(("B", 7, 6)), opsets=(21,), sizes=(1, 3))
    check(jax.vmap(lambda x: jax.image.resize(x, (4, 9), method), 2, 1), Spec((7, 6, 3)), opsets=(21,))


@all_methods
@with_and_without_antialias
def test_gradient_of_resize(method, antialias):
    def loss(x):
        return jnp.sum(jnp.sin(jax.image.resize(x, (9, 4), method, antialias=antialias)))

    check(jax.grad(loss), Spec((7, 6)), opsets=(21,))
    check(jax.vmap(jax.grad(loss)), Spec(("B", 7, 6)), opsets=(21,), sizes=(2,))


@all_methods
@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.uint8])
def test_resize_of_other_types(method, dtype):
    check(lambda x: jax.image.resize(x, (9, 4), method), Spec((7, 6), dtype), opsets=(18, 26))


@all_methods
def test_resize_spreads_what_is_not_finite_as_jax_does(method):
    x = np.ones((5, 6), np.float32)
    x[1, 2], x[4, 4] = np.nan, np.inf
    # By default, Resize keeps what is not finite to its surroundings; `report` says so.
    program = j2o_core.to_onnx(lambda x: jax.image.resize(x, (9, 4), method), [x], opset=21, nonfinite="exact")
    program.verify(x)
    assert "Resize" not in [node.op_type for node in program.model.graph]


def test_resize_of_nothing():
    check(lambda x: jax.image.resize(x, (0, 9, 4), "linear"), Spec((0, 7, 6)), opsets=(18, 26))


@pytest.mark.parametrize("method", METHODS[1:])  # JAX refuses nearest neighbours here
@with_and_without_antialias
@pytest.mark.parametrize(("scale", "offset"), [((1.7, 0.6), (0.3, -1.2)), ((0.5, 2.0), (40.0, 0.0))])
def test_scale_and_translate(method, antialias, scale, offset):
    def fn(x, scale, offset):
        return jax.image.scale_and_translate(x, (2, 8, 5, 3), (1, 2), scale, offset, method, antialias=antialias)

    scale, offset = np.array(scale, np.float32), np.array(offset, np.float32)
    check(lambda x: fn(x, scale, offset), Spec(SHAPE), opsets=(21,))
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    check(fn, x, scale, offset, opsets=(21,))  # a crop that is chosen at run time


def test_gradient_of_scale_and_translate():
    def loss(x, scale, offset):
        image = jax.image.scale_and_translate(x, (8, 5), (0, 1), scale, offset, "linear", antialias=False)
        return jnp.sum(jnp.sin(image))

    x = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)
    check(jax.grad(loss, (0, 1, 2)), x, np.array([1.7, 0.6], np.float32), np.array([0.3, -1.2], np.float32))
