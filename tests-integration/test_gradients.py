"""Gradients of networks are programs too: every way to differentiate, over networks of every kind of layer."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import TraceError, to_onnx
from j2o_core.testing import Spec, check

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


# Functions that libraries like to wrap as one operator: each differentiates and maps as JAX has it.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concatenate": lambda x: jnp.concatenate((x, x * 2), axis=0),
    "reshape": lambda x: jnp.reshape(x, (-1,)) ** 2,
    "squeeze": lambda x: jnp.squeeze(x[None], 0) ** 2,
    "transpose": lambda x: jnp.transpose(x) ** 2,
    "stack": lambda x: jnp.stack((x, jnp.sin(x)), axis=1),
    "split": lambda x: sum(part**2 for part in jnp.split(x, 2, axis=1)),
    "tile": lambda x: jnp.tile(x, (2, 3)) ** 2,
    "mean": lambda x: jnp.mean(x, 0) ** 2,
    "prod": lambda x: jnp.prod(x, 1),
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=-1),
    "standardize": jax.nn.standardize,
    "determinant": lambda x: jnp.linalg.det(x[:, :3] + 2 * jnp.eye(3)),
    "some rows": lambda x: x[np.array([True, False, True])] ** 2,
    "window": lambda x: x * jnp.hanning(4) + jnp.arange(4.0),
    **{
        fn.__name__: fn
        for fn in (
            *(jax.nn.relu, jax.nn.relu6, jax.nn.sigmoid, jax.nn.silu, jax.nn.gelu, jax.nn.elu, jax.nn.leaky_relu),
            *(jax.nn.softplus, jax.nn.soft_sign, jax.nn.selu, jax.nn.celu, jax.nn.mish, jax.nn.hard_tanh),
            *(jax.nn.hard_sigmoid, jax.nn.hard_silu, jax.nn.log_sigmoid, jax.nn.squareplus, jax.nn.glu),
        )
    },
}


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, opset: int) -> None:
    fn = FUNCTIONS[name]
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)

    def program(x: Any) -> Any:
        return fn(x), jax.grad(total(fn))(x), jax.jvp(fn, (x,), (jnp.cos(x),))[1]

    check(program, x, opsets=(opset,))
    check(jax.vmap(program), Spec(("B", 3, 4)), opsets=(opset,), sizes=(2,))


def choice(x: Any) -> Any:
    """One where the largest number is, zero elsewhere."""
    return jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1])


def drawn(sample: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda x: sample(jax.random.key(0), x).astype(jnp.float32)


# Functions that do not change smoothly with their operand. JAX's gradients are zero, and so are those of the graph.
STEPS: dict[str, Callable[[Any], Any]] = {
    "hardmax": choice,
    "one_hot of a rounded number": lambda x: jax.nn.one_hot(jnp.round(x).astype(int), 3),
    "sign": jnp.sign,
    "floor": jnp.floor,
    "comparison": lambda x: (x > 0).astype(jnp.float32),
    "rank": lambda x: jnp.argsort(x).astype(jnp.float32),
    "top indices": lambda x: jax.lax.top_k(x, 2)[1].astype(jnp.float32),
    "bernoulli": drawn(lambda key, x: jax.random.bernoulli(key, jax.nn.sigmoid(x))),
    "categorical": drawn(jax.random.categorical),
    "random integers": drawn(lambda key, x: jax.random.randint(key, x.shape, 0, 5)),
    "poisson": drawn(lambda key, x: jax.random.poisson(key, jnp.exp(jax.lax.stop_gradient(x)))),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_have_zero_gradients(name: str) -> None:
    def straight(x: Any) -> Any:
        return jnp.sum(STEPS[name](x)) + jnp.sum(jnp.sin(x))

    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    program = check(jax.value_and_grad(straight), x, opsets=(21,))
    np.testing.assert_allclose(program(x)[1], np.cos(x), rtol=1e-6)
    check(jax.grad(lambda x: jnp.sum(STEPS[name](x))), x, opsets=(21,))


@pytest.mark.parametrize("sample", [jax.random.normal, jax.random.gumbel, jax.random.uniform])
def test_samples_move_with_what_scales_them(sample: Callable[..., Any]) -> None:
    def loss(scale: Any) -> Any:
        return jnp.sum(jnp.sin(scale * sample(jax.random.key(0), (4,))))

    check(jax.value_and_grad(loss), np.float32(0.7), opsets=(21,))


def test_where_jax_has_no_gradient_there_is_an_error() -> None:
    for fn in (jnp.argmax, lambda x: jax.random.poisson(jax.random.key(0), x).sum()):
        with pytest.raises(TraceError):
            to_onnx(jax.grad(fn), [(3,)])
