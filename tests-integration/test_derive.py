"""A stranger's primitive with derived rules is exported under every transform, with static and symbolic sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import j2o_autodiff
import j2o_plugins_jax
from j2o_autodiff import derive
from j2o_core import Plugin, to_onnx
from j2o_core.testing import Spec, check

plugin = Plugin("strangers")
PLUGINS = [plugin, j2o_plugins_jax.plugin, j2o_autodiff.plugin]


def normalised(x, weight, *, epsilon):
    """Rows `[..., n]` of length one, times weights `[n]`."""
    return x / jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + epsilon) * weight


def pooled(x, *, size):
    """`[n]` to `[n / size]`, the mean of each `size` neighbours, and the largest."""
    rows = x.reshape(-1, size)
    return rows.mean(1), rows.max(1)


def primitive(name, reference, multiple_results=False):
    made = Primitive(name)
    made.multiple_results = multiple_results

    def results(*avals, **params):
        found = jax.tree.leaves(jax.eval_shape(lambda *xs: reference(*xs, **params), *avals))
        found = [jax.core.ShapedArray(one.shape, one.dtype) for one in found]
        return found if multiple_results else found[0]

    made.def_abstract_eval(results)
    made.def_impl(reference)
    mlir.register_lowering(made, mlir.lower_fun(reference, multiple_results=multiple_results))
    derive(made, reference)
    return made


normalised_p = primitive("strangers_normalised", normalised)
pooled_p = primitive("strangers_pooled", pooled, multiple_results=True)


@plugin.lowering(normalised_p)
def _normalised(ctx, x, weight, *, epsilon):
    length = ctx.op.ReduceSumSquare(x, ctx.const([-1], np.int64), keepdims=1)
    return ctx.op.Mul(ctx.op.Div(x, ctx.op.Sqrt(ctx.op.Add(length, ctx.const(epsilon, x)))), weight)


@plugin.lowering(pooled_p)
def _pooled(ctx, x, *, size):
    rows = ctx.reshape(x, (ctx.avals_in[0].shape[0] // size, size))
    axis = ctx.const([1], np.int64)
    return ctx.op.ReduceMean(rows, axis, keepdims=0), ctx.op.ReduceMax(rows, axis, keepdims=0)


def norm(x, weight):
    return normalised_p.bind(x, weight, epsilon=1e-3)


def pool(x):
    mean, largest = pooled_p.bind(x, size=2)
    return mean * largest


def loss(x, weight):
    return jnp.sum(jnp.tanh(norm(x, weight)) * jnp.arange(1.0, 5.0))


def second(x, weight):
    return jax.grad(lambda x: jnp.sum(jax.grad(loss, argnums=1)(x, weight) * x.sum(0)))(x)


def pool_gradient(x):
    return jax.grad(lambda x: jnp.sum(pool(x) ** 2))(x)


# The function, the shapes of its operands with the symbol "B" as the size of a batch, and whether the primitive
# itself is left to be lowered.
TRANSFORMS = {
    "as it is": (norm, [("B", 4), (4,)], True),
    "vmap": (jax.vmap(norm, (0, None)), [("B", 3, 4), (4,)], False),
    "jvp": (lambda x, y: jax.jvp(lambda x: norm(x, y), (x,), (x * x,)), [("B", 4), (4,)], True),
    "grad": (jax.grad(lambda x, y: loss(x, y), argnums=(0, 1)), [("B", 4), (4,)], True),
    "vmap of grad": (jax.vmap(jax.grad(loss, argnums=1), (0, None)), [("B", 3, 4), (4,)], False),
    "grad of vmap": (jax.grad(lambda x, y: jax.vmap(loss, (0, None))(x, y).sum()), [("B", 3, 4), (4,)], False),
    "second derivative": (second, [("B", 4), (4,)], True),
    "two results": (pool, [(6,)], True),
    "two results, vmap": (jax.vmap(pool), [("B", 6)], False),
    "two results, grad": (pool_gradient, [(6,)], True),
    "two results, vmap of grad": (jax.vmap(pool_gradient), [("B", 6)], False),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform(name, symbolic):
    fn, shapes, _ = TRANSFORMS[name]
    specs = [
        Spec(tuple(2 if size == "B" and not symbolic else size for size in shape), jnp.float32) for shape in shapes
    ]
    check(fn, *specs, plugins=PLUGINS, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_primitive_is_lowered_where_it_is_bound_and_used(name):
    fn, shapes, bound = TRANSFORMS[name]
    program = to_onnx(fn, shapes, plugins=PLUGINS)
    origins = {eqn.primitive.name for eqn in program.lowered.jaxpr.jaxpr.eqns}
    assert bool(origins & {"strangers_normalised", "strangers_pooled"}) == bound
