"""Gradients of networks are programs too: every way to differentiate, over networks of every kind of layer."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import check

Network = tuple[Any, Callable[[Any, Any], Any], tuple[int, ...]]


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


def perceptron() -> Network:
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jax.nn.gelu, key=keys(1)[0])
    return model, lambda model, x: jax.vmap(model)(x), (4, 3)


def transformer() -> Network:
    model = (eqx.nn.MultiheadAttention(2, 4, key=keys(1)[0]), eqx.nn.LayerNorm(4), eqx.nn.RMSNorm(4, use_bias=False))

    def apply(model: Any, x: Any) -> Any:
        attention, before, after = model
        normed = jax.vmap(before)(x)
        return jax.vmap(after)(x + attention(normed, normed, normed))

    return model, apply, (3, 4)


def attention_of_jax() -> Network:
    def apply(weights: Any, x: Any) -> Any:
        query, key, value = (jnp.einsum("th,had->tad", x, weight) for weight in weights)
        return jax.nn.dot_product_attention(query, key, value, is_causal=True)

    return list(jax.random.normal(keys(1)[0], (3, 4, 2, 2))), apply, (3, 4)


def convolutional(pool: Callable[..., Any]) -> Network:
    first, second = keys(2)
    convolution = eqx.nn.Conv2d(2, 3, 3, padding=1, key=first)
    model = eqx.nn.Sequential([convolution, pool, eqx.nn.Conv2d(3, 1, 2, stride=2, groups=1, key=second)])
    return model, lambda model, x: jnp.tanh(model(x)), (2, 6, 5)


def resized() -> Network:
    convolution = eqx.nn.Conv2d(2, 2, 3, key=keys(1)[0])

    def apply(model: Any, x: Any) -> Any:
        return jnp.tanh(model(jax.image.resize(x, (2, 7, 4), "cubic")))

    return convolution, apply, (2, 4, 5)


def embedded() -> Network:
    table = eqx.nn.Embedding(5, 3, key=keys(1)[0])
    tokens = np.array([0, 3, 3, 1], np.int32)
    return table, lambda model, x: jnp.tanh(jax.vmap(model)(tokens) * x), (4, 3)


def recurrent() -> Network:
    cell = eqx.nn.GRUCell(2, 3, key=keys(1)[0])

    def apply(model: Any, xs: Any) -> Any:
        return jax.lax.scan(lambda h, x: (model(x, h), h), jnp.zeros(3), xs)

    return cell, apply, (4, 2)


NETWORKS: dict[str, Callable[[], Network]] = {
    "perceptron": perceptron,
    "transformer": transformer,
    "attention of jax.nn": attention_of_jax,
    "average pooling": functools.partial(convolutional, eqx.nn.AvgPool2d(2)),
    "maximum pooling": functools.partial(convolutional, eqx.nn.MaxPool2d(2)),
    "resize": resized,
    "embedding": embedded,
    "recurrence": recurrent,
}


def vjp(fn: Callable[[Any], Any], parameters: Any) -> Any:
    outputs, pull = jax.vjp(fn, parameters)
    return outputs, pull(jax.tree.map(jnp.cos, outputs))


def jvp(fn: Callable[[Any], Any], parameters: Any) -> Any:
    return jax.jvp(fn, (parameters,), (jax.tree.map(jnp.cos, parameters),))


def total(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda parameters: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(fn(parameters)))


# Of functions from parameters to outputs, made of the network's function and the parameters.
DERIVATIVES: dict[str, Callable[[Callable[[Any], Any], Any], Any]] = {
    "grad": lambda fn, parameters: jax.grad(total(fn))(parameters),
    "value_and_grad": lambda fn, parameters: jax.value_and_grad(total(fn))(parameters),
    "vjp": vjp,
    "jvp": jvp,
    "jacfwd": lambda fn, parameters: jax.jacfwd(fn)(parameters),
    "jacrev": lambda fn, parameters: jax.jacrev(fn)(parameters),
    "hessian": lambda fn, parameters: jax.hessian(total(fn))(parameters),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_derivatives_by_parameters(name: str, derivative: str) -> None:
    model, apply, shape = NETWORKS[name]()
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(parameters)

    def derive(leaves: Any, x: Any) -> Any:
        def network(leaves: Any) -> Any:
            return apply(eqx.combine(jax.tree.unflatten(treedef, leaves), rest), x)

        return DERIVATIVES[derivative](network, leaves)

    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    check(derive, leaves, x, opsets=(23 if derivative in ("grad", "jvp") else 18,))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("derivative", ["grad", "jvp", "hessian"])
def test_derivatives_by_inputs(name: str, derivative: str) -> None:
    """Of a trained network: its weights are constants."""
    model, apply, shape = NETWORKS[name]()
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    check(lambda x: DERIVATIVES[derivative](functools.partial(apply, model), x), x, opsets=(21,))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_each_example(name: str) -> None:
    model, apply, shape = NETWORKS[name]()
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    check(jax.vmap(jax.grad(total(functools.partial(apply, model)))), x, opsets=(21,))
