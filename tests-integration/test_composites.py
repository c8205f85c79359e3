"""Every composite of the installed plugins under JAX's transformations: JAX's values, and whole where it should be."""

import functools
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import Registry, to_onnx
from j2o_core.testing import check

Function = Callable[..., Any]


def attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(query, key, value, is_causal=True)


def checked(x: jax.Array, y: jax.Array) -> jax.Array:
    """A run-time check on one operand, which the export drops with a warning."""
    return eqx.error_if(jnp.sin(x) * y, jnp.any(y > 1e6), "too large")


def resized(x: jax.Array, y: jax.Array) -> jax.Array:
    return jax.image.resize(jnp.sin(x) * y, (7, 6), "linear")


def searched(x: jax.Array, y: jax.Array) -> jax.Array:
    """Places in a table, which have no slope."""
    return jnp.sin(x) * y + jnp.searchsorted(jnp.linspace(-2, 2, 9), x)


# A call of every composite: the function and the shapes of its operands.
CALLS: dict[str, tuple[Function, list[tuple[int, ...]]]] = {
    "jax.nn.dot_product_attention": (attention, [(5, 2, 4)] * 3),
    "equinox._errors.branched_error_if": (checked, [(3,), (3,)]),
    "jax.image.resize": (resized, [(5, 4)] * 2),
    "jax.numpy.searchsorted": (searched, [(5,)] * 2),
}


def mapped(in_axes: tuple[int | None, ...], sizes: tuple[int, ...] = (3,)) -> Callable[[Function, int], Any]:
    """`vmap` over these axes (cut to the number of operands), once for every size; what goes in has one more axis."""

    def make(fn: Function, count: int) -> tuple[Function, Callable[[int, tuple[int, ...]], tuple[int, ...]]]:
        axes = in_axes[:count]

        def shape(index: int, inner: tuple[int, ...]) -> tuple[int, ...]:
            for size in sizes:
                if axes[index] == 0:
                    inner = (size, *inner)
                elif axes[index] == -1:
                    inner = (*inner, size)
            return inner

        for _ in sizes:
            fn = jax.vmap(fn, axes)
        return fn, shape

    return make


VMAPS = {
    "first axes": mapped((0, 0, 0)),
    "last axes": mapped((-1, -1, -1)),
    "one operand": mapped((0, None, None)),
    "another operand": mapped((None, 0, None)),
    "different axes": mapped((0, -1, 0)),
    "nested": mapped((0, 0, 0), (3, 2)),
    "nested over one operand": mapped((0, None, None), (3, 2)),
    "nested over the last axes": mapped((-1, -1, -1), (3, 2)),
}


def total(fn: Function) -> Function:
    return lambda *xs: jnp.sum(jnp.sin(fn(*xs)))


def custom(fn: Function) -> Function:
    """`fn` with a gradient of one's own."""
    own = jax.custom_vjp(fn)

    def forward(*xs: jax.Array) -> tuple[jax.Array, Any]:
        return fn(*xs), xs

    def backward(saved: Any, cotangent: jax.Array) -> Any:
        return tuple(jnp.cos(x) * cotangent.mean() for x in saved)

    own.defvjp(forward, backward)
    return own


def linearized(fn: Function, *xs: jax.Array) -> Any:
    primal, tangent = jax.linearize(fn, *xs)
    return primal, tangent(*xs), tangent(*(jnp.cos(x) for x in xs))


def pulled_back(fn: Function, *xs: jax.Array) -> Any:
    primal, pull = jax.vjp(fn, *xs)
    return primal, pull(jnp.cos(primal))


def slope(fn: Function, *xs: jax.Array) -> Any:
    """The value and the gradient in the direction of the operands."""
    return jax.jvp(fn, xs, tuple(jnp.cos(x) for x in xs))


# Transforms of the function. Each needs its value too, which the composite gives; derivatives are its body's.
DERIVATIVES: dict[str, Callable[[Function], Function]] = {
    "jvp": lambda fn: functools.partial(slope, fn),
    "vjp": lambda fn: functools.partial(pulled_back, fn),
    "linearize": lambda fn: functools.partial(linearized, fn),
    "grad": lambda fn: jax.grad(total(fn)),
    "second derivative": lambda fn: functools.partial(slope, jax.grad(total(fn))),
    "hessian": lambda fn: jax.hessian(total(fn)),
    "checkpoint": lambda fn: jax.value_and_grad(total(jax.checkpoint(fn)), (0, 1)),
    "custom_vjp": lambda fn: jax.value_and_grad(total(custom(fn)), (0, 1)),
    "jit": lambda fn: jax.jit(jax.value_and_grad(total(jax.jit(fn)))),
}


def kept(program: Any, name: str) -> int:
    """How many equations of the exported program are this composite."""
    return sum(eqn.primitive.name == name for eqn in program.lowered.jaxpr.jaxpr.eqns)


@pytest.fixture(autouse=True)
def _expected_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The run-time check 'too large' is not part of the graph")
        yield


def arrays(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_every_composite_is_called_here() -> None:
    assert {composite.name for composite in Registry.installed().composites} == set(CALLS)


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("batch", VMAPS)
def test_vmap(name: str, batch: str, opset: int) -> None:
    fn, shapes = CALLS[name]
    fn, shape = VMAPS[batch](fn, len(shapes))
    program = check(fn, *arrays([shape(index, inner) for index, inner in enumerate(shapes)]), opsets=(opset,))
    assert kept(program, name) == 1


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_derivatives(name: str, derivative: str, opset: int) -> None:
    fn, shapes = CALLS[name]
    program = check(DERIVATIVES[derivative](fn), *arrays(shapes), opsets=(opset,))
    assert kept(program, name) == 1


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("name", CALLS)
def test_vmap_of_a_gradient_of_a_vmap(name: str, opset: int) -> None:
    fn, shapes = CALLS[name]
    inner = jax.value_and_grad(total(jax.vmap(fn)))
    program = check(jax.vmap(inner), *arrays([(2, 3, *shape) for shape in shapes]), opsets=(opset,))
    assert kept(program, name) == 1


@pytest.mark.parametrize("name", CALLS)
def test_symbolic_batches(name: str) -> None:
    fn, shapes = CALLS[name]
    program = to_onnx(jax.vmap(jax.vmap(fn)), [("A", "B", *shape) for shape in shapes], opset=23)
    program.verify(sizes=(2, 3))
    assert kept(program, name) == 1


# The same functions by attribute and by names in another module, which were there before any export.
IMPORTED: Any = types.ModuleType("names_of_functions")
vars(IMPORTED).update({name: value for name, value in vars(jax.nn).items() if callable(value)})
sys.modules["names_of_functions"] = IMPORTED

X = (3, 4, 8)

# With weights, as without any a layer norm of 3 axes is an instance norm too.
LAYER_NORM = eqx.tree_at(
    lambda norm: (norm.weight, norm.bias), eqx.nn.LayerNorm(8), (jnp.arange(1.0, 9), jnp.arange(8.0))
)

# Functions that become one operator: how each is called from a namespace, the shape, the operator at opset 23.
FUSED: dict[str, tuple[Callable[[Any], Function], tuple[int, ...], str]] = {
    "attention": (lambda nn: lambda x: nn.dot_product_attention(x, jnp.sin(x), x * 2), (2, 5, 2, 4), "Attention"),
    "causal attention": (
        lambda nn: lambda x: nn.dot_product_attention(x, jnp.sin(x), x * 2, is_causal=True),
        (2, 5, 2, 4),
        "Attention",
    ),
    "softmax": (lambda nn: nn.softmax, X, "Softmax"),
    "log_softmax": (lambda nn: nn.log_softmax, X, "LogSoftmax"),
    "gelu": (lambda nn: nn.gelu, X, "Gelu"),
    "exact gelu": (lambda nn: lambda x: nn.gelu(x, approximate=False), X, "Gelu"),
    "relu": (lambda nn: nn.relu, X, "Relu"),
    "relu6": (lambda nn: nn.relu6, X, "Clip"),
    "silu": (lambda nn: nn.silu, X, "Sigmoid"),
    "hard_tanh": (lambda nn: nn.hard_tanh, X, "Clip"),
    "hard_sigmoid": (lambda nn: nn.hard_sigmoid, X, "HardSigmoid"),
    "hard_swish": (lambda nn: nn.hard_swish, X, "HardSwish"),
    "leaky_relu": (lambda nn: nn.leaky_relu, X, "LeakyRelu"),
    "soft_sign": (lambda nn: nn.soft_sign, X, "Softsign"),
    "standardize": (lambda nn: nn.standardize, X, "LayerNormalization"),
    "layer norm": (lambda nn: jax.vmap(jax.vmap(LAYER_NORM)), X, "LayerNormalization"),
    "group norm": (
        lambda nn: jax.vmap(eqx.nn.GroupNorm(2, 4)),
        (3, 4, 5),
        "InstanceNormalization",
    ),
    "RMS norm": (lambda nn: jax.vmap(jax.vmap(eqx.nn.RMSNorm(8))), X, "RMSNormalization"),
    "rotary embedding": (lambda nn: jax.vmap(eqx.nn.RotaryPositionalEmbedding(8)), X, "RotaryEmbedding"),
}


def called(fn: Function, shape: tuple[int, ...]) -> Function:
    compiled = jax.jit(fn)
    compiled(jnp.ones(shape))
    return compiled


# How a function is written or has been used; what comes out must be the same.
STYLES: dict[str, Callable[[Callable[[Any], Function], tuple[int, ...]], Function]] = {
    "attribute": lambda make, _: make(jax.nn),
    "imported": lambda make, _: make(IMPORTED),
    "jit": lambda make, _: jax.jit(make(jax.nn)),
    "jit after a call": lambda make, shape: called(make(IMPORTED), shape),
    "in a jitted function": lambda make, shape: called(lambda x: jax.jit(make(jax.nn))(x), shape),
}


def operators(fn: Function, shape: tuple[Any, ...]) -> list[str]:
    return [node.op_type for node in to_onnx(fn, [shape], opset=23).model.graph]


@pytest.mark.parametrize("name", FUSED)
def test_the_operator_does_not_depend_on_the_style(name: str) -> None:
    make, shape, op_type = FUSED[name]
    graphs = [operators(style(make, shape), shape) for style in STYLES.values()]
    assert graphs == [graphs[0]] * len(STYLES)
    assert op_type in graphs[0]


@pytest.mark.parametrize("name", FUSED)
def test_the_operator_is_there_under_vmap_and_in_gradients(name: str) -> None:
    make, shape, op_type = FUSED[name]

    def squares(fn: Function) -> Function:
        return lambda x: jnp.sum(fn(x) ** 2)

    for style in STYLES.values():
        fn = style(make, shape)
        assert op_type in operators(jax.vmap(fn), ("B", *shape))
        assert op_type in operators(jax.value_and_grad(squares(fn)), shape)
