"""Every layer of `equinox.nn`, unmodified: parity with JAX alone, batched, nested, differentiated, derived and wrapped.

`LAYERS` is the table; docs/layers.md is made from it. One opset is tried for each case, in turn; with `J2O_EVERY_OPSET`
set in the environment, as `nox -s layers` sets it, every case runs at every opset.
"""

import os
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import TraceError, to_onnx
from j2o_core.testing import Spec, check

OPSETS = (18, 21, 23, 26)
# Classes derived from every class of equinox.nn, without any change.
DERIVED = types.SimpleNamespace(
    **{
        name: types.new_class(f"Derived{name}", (value,)) if isinstance(value, type) and name != "State" else value
        for name, value in vars(eqx.nn).items()
    }
)


def key(number: int = 0) -> jax.Array:
    return jax.random.key(number)


def run(layer: Any, *arguments: Any) -> Any:
    return layer(*arguments)


@dataclass(frozen=True)
class Layer:
    """How a layer is made and called.

    Attributes:
        make: the layer from a namespace that stands for `equinox.nn`; if it is stateful, the layer and its state.
        shapes: shapes of the inputs of a single call.
        operators: what the batched layer must become at the highest opset.
        call: calls the layer.
        dtype: of the inputs.
        stateful: whether the call takes a state after the inputs and returns it.
    """

    make: Callable[[Any], Any]
    shapes: tuple[tuple[int, ...], ...]
    operators: Sequence[str] = ()
    call: Callable[..., Any] = run
    dtype: Any = np.float32
    stateful: bool = False

    @property
    def axes(self) -> tuple[Any, Any]:
        """The axes of `vmap`: of the inputs, and of the result next to the state."""
        return ((0,) * len(self.shapes) + (None,), (0, None)) if self.stateful else (0, 0)


def shared(nn: Any) -> Any:
    pair = (nn.Linear(6, 6, key=key()), nn.Linear(6, 6, use_bias=False, key=key(1)))
    return nn.Shared(pair, where=lambda pair: pair[1].weight, get=lambda pair: pair[0].weight)


def run_shared(layer: Any, x: Any) -> Any:
    first, second = layer()
    return second(jax.nn.relu(first(x)))


def counting(nn: Any) -> Any:
    class Counting(nn.StatefulLayer):
        calls: Any
        scale: jax.Array

        def __init__(self) -> None:
            self.calls = eqx.nn.StateIndex(jnp.array(0))
            self.scale = jnp.array(2.0)

        def __call__(self, x: Any, state: Any, *, key: Any = None) -> Any:
            count = state.get(self.calls)
            return x * self.scale + count, state.set(self.calls, count + 1)

    return eqx.nn.make_with_state(Counting)()


def rotated(layer: Any, x: Any) -> Any:
    """Attention whose heads are rotated, as Equinox's page on attention shows."""
    attention, rope = layer

    def process_heads(query: Any, key: Any, value: Any) -> Any:
        return jax.vmap(rope, 1, 1)(query), jax.vmap(rope, 1, 1)(key), value

    return attention(x, x, x, process_heads=process_heads)


def scan_gru(layer: Any, xs: Any) -> Any:
    return jax.lax.scan(lambda h, x: (layer(x, h), None), jnp.zeros(layer.hidden_size), xs)[0]


def scan_lstm(layer: Any, xs: Any) -> Any:
    start = (jnp.zeros(layer.hidden_size), jnp.zeros(layer.hidden_size))
    return jax.lax.scan(lambda carry, x: (layer(x, carry), carry[0]), start, xs)


def network_with_state(nn: Any) -> Any:
    first, second = jax.random.split(key())

    def build() -> Any:
        layers = [
            nn.Conv2d(3, 4, 3, key=first),
            nn.BatchNorm(4, "batch", mode="ema"),
            nn.Lambda(jax.nn.relu),
            nn.SpectralNorm(nn.Conv2d(4, 2, 3, key=second), "weight", key=key(2)),
        ]
        return nn.Sequential(layers)

    return eqx.nn.make_with_state(build)()


def with_state(name: str, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda nn: eqx.nn.make_with_state(getattr(nn, name))(*arguments, **options)


LAYERS = {
    "Linear": Layer(lambda nn: nn.Linear(6, 4, key=key()), ((6,),), ["MatMul", "Add"]),
    "Linear without bias": Layer(lambda nn: nn.Linear(6, 4, use_bias=False, key=key()), ((6,),), ["MatMul"]),
    "Linear from scalar": Layer(lambda nn: nn.Linear("scalar", 4, key=key()), ((),)),
    "Linear to scalar": Layer(lambda nn: nn.Linear(6, "scalar", key=key()), ((6,),)),
    "Linear of scalars": Layer(lambda nn: nn.Linear("scalar", "scalar", key=key()), ((),)),
    "Identity": Layer(lambda nn: nn.Identity(), ((6,),)),
    "MLP": Layer(lambda nn: nn.MLP(6, 3, 8, 2, jax.nn.gelu, key=key()), ((6,),), ["MatMul", "Gelu"]),
    "MLP of scalars": Layer(lambda nn: nn.MLP("scalar", "scalar", 8, 1, key=key()), ((),), ["Relu"]),
    "Sequential": Layer(
        lambda nn: nn.Sequential([nn.Linear(6, 4, key=key()), nn.Lambda(jax.nn.relu)]), ((6,),), ["MatMul", "Relu"]
    ),
    "MLP in a scan": Layer(lambda nn: nn.MLP(6, 3, 8, 4, scan=True, key=key()), ((6,),)),
    "Conv of two axes": Layer(
        lambda nn: nn.Conv(2, 2, 3, (1, 3), padding="VALID", padding_mode="CIRCULAR", key=key()), ((2, 4, 5),), ["Conv"]
    ),
    "ConvTranspose of two axes": Layer(
        lambda nn: nn.ConvTranspose(2, 2, 3, 3, dilation=2, use_bias=False, key=key()), ((2, 4, 5),)
    ),
    "Pool by sums": Layer(lambda nn: nn.Pool(0.0, jax.lax.add, 1, 3, 2, ((1, 0),), use_ceil=True), ((2, 8),)),
    "AdaptivePool by medians": Layer(lambda nn: nn.AdaptivePool(3, 1, jnp.median), ((2, 8),)),
    "Conv1d": Layer(lambda nn: nn.Conv1d(3, 4, 3, dilation=2, key=key()), ((3, 9),), ["Conv"]),
    "Conv2d": Layer(lambda nn: nn.Conv2d(3, 4, 3, 2, 1, key=key()), ((3, 8, 9),), ["Conv"]),
    "Conv2d of each channel": Layer(
        lambda nn: nn.Conv2d(4, 8, 3, groups=4, padding="SAME", use_bias=False, key=key()), ((4, 8, 9),), ["Conv"]
    ),
    "Conv2d with reflection": Layer(
        lambda nn: nn.Conv2d(2, 3, 3, padding="SAME", padding_mode="REFLECT", key=key()), ((2, 6, 5),), ["Conv"]
    ),
    "Conv3d": Layer(lambda nn: nn.Conv3d(2, 3, (1, 2, 3), key=key()), ((2, 4, 5, 6),), ["Conv"]),
    "ConvTranspose1d": Layer(lambda nn: nn.ConvTranspose1d(3, 4, 3, 2, key=key()), ((3, 5),), ["ConvTranspose"]),
    "ConvTranspose2d": Layer(
        lambda nn: nn.ConvTranspose2d(4, 2, 3, 2, 1, padding=1, groups=2, key=key()), ((4, 4, 5),), ["ConvTranspose"]
    ),
    "ConvTranspose3d": Layer(lambda nn: nn.ConvTranspose3d(2, 3, 2, 2, key=key()), ((2, 2, 3, 2),), ["ConvTranspose"]),
    "AvgPool1d": Layer(lambda nn: nn.AvgPool1d(2, 2), ((3, 8),), ["AveragePool"]),
    "AvgPool2d": Layer(lambda nn: nn.AvgPool2d(3, 2, 1, use_ceil=True), ((3, 8, 9),), ["AveragePool"]),
    "AvgPool3d": Layer(lambda nn: nn.AvgPool3d(2, 1), ((2, 3, 4, 5),), ["AveragePool"]),
    "MaxPool1d": Layer(lambda nn: nn.MaxPool1d(3, 2), ((3, 9),), ["MaxPool"]),
    "MaxPool2d": Layer(lambda nn: nn.MaxPool2d(3, 2, 1), ((3, 8, 9),), ["MaxPool"]),
    "MaxPool3d": Layer(lambda nn: nn.MaxPool3d(2, 2), ((2, 4, 4, 6),), ["MaxPool"]),
    "AdaptiveAvgPool1d": Layer(lambda nn: nn.AdaptiveAvgPool1d(3), ((2, 8),)),
    "AdaptiveAvgPool2d": Layer(lambda nn: nn.AdaptiveAvgPool2d((2, 3)), ((2, 6, 7),)),
    "AdaptiveAvgPool3d": Layer(lambda nn: nn.AdaptiveAvgPool3d(2), ((2, 4, 5, 3),)),
    "AdaptiveMaxPool1d": Layer(lambda nn: nn.AdaptiveMaxPool1d(3), ((2, 8),)),
    "AdaptiveMaxPool2d": Layer(lambda nn: nn.AdaptiveMaxPool2d((2, 3)), ((2, 6, 7),)),
    "AdaptiveMaxPool3d": Layer(lambda nn: nn.AdaptiveMaxPool3d(2), ((2, 4, 5, 3),)),
    "LayerNorm": Layer(lambda nn: nn.LayerNorm(8), ((8,),), ["LayerNormalization"]),
    "LayerNorm over two axes": Layer(lambda nn: nn.LayerNorm((4, 8)), ((4, 8),), ["LayerNormalization"]),
    "LayerNorm without weights": Layer(lambda nn: nn.LayerNorm(8, use_weight=False, use_bias=False), ((8,),)),
    "LayerNorm with a large eps": Layer(lambda nn: nn.LayerNorm(8, eps=0.1, use_bias=False), ((8,),)),
    "RMSNorm without weights": Layer(lambda nn: nn.RMSNorm((4, 8), use_weight=False), ((4, 8),)),
    "RMSNorm": Layer(lambda nn: nn.RMSNorm(8), ((8,),), ["RMSNormalization"]),
    "GroupNorm": Layer(lambda nn: nn.GroupNorm(2, 4), ((4, 5, 3),)),
    "GroupNorm of each channel": Layer(lambda nn: nn.GroupNorm(4, 4, channelwise_affine=False), ((4, 5),)),
    "BatchNorm": Layer(with_state("BatchNorm", 3, "batch", mode="ema"), ((3, 4, 5),), stateful=True),
    "BatchNorm by batch": Layer(with_state("BatchNorm", 3, "batch", mode="batch"), ((3,),), stateful=True),
    "SpectralNorm": Layer(
        lambda nn: eqx.nn.make_with_state(nn.SpectralNorm)(nn.Linear(6, 4, key=key()), "weight", key=key(1)),
        ((6,),),
        ["MatMul"],
        stateful=True,
    ),
    "WeightNorm": Layer(lambda nn: nn.WeightNorm(nn.Linear(6, 4, key=key())), ((6,),), ["MatMul"]),
    "WeightNorm of a convolution": Layer(
        lambda nn: nn.WeightNorm(nn.Conv2d(2, 3, 3, key=key()), axis=None), ((2, 5, 6),), ["Conv"]
    ),
    "Dropout": Layer(lambda nn: nn.Dropout(0.5), ((6,),)),
    "Embedding of a given weight": Layer(
        lambda nn: nn.Embedding(weight=jnp.linspace(-1, 1, 40).reshape(10, 4)), ((),), ["Gather"], dtype=np.int32
    ),
    "Embedding": Layer(lambda nn: nn.Embedding(10, 4, key=key()), ((),), ["Gather"], dtype=np.int32),
    "MultiheadAttention": Layer(
        lambda nn: nn.MultiheadAttention(4, 16, use_query_bias=True, key=key()),
        ((5, 16), (7, 16)),
        ["Attention"],
        call=lambda layer, x, y: layer(x, y, y),
    ),
    "MultiheadAttention with a mask": Layer(
        lambda nn: nn.MultiheadAttention(4, 16, dropout_p=0.5, key=key()),
        ((5, 16),),
        ["Attention"],
        call=lambda layer, x: layer(x, x, x, mask=np.tril(np.ones((5, 5), bool))),
    ),
    "MultiheadAttention of other sizes": Layer(
        lambda nn: nn.MultiheadAttention(
            2, 6, 8, 10, 5, 4, 3, use_query_bias=True, use_value_bias=True, use_output_bias=True, key=key()
        ),
        ((5, 6), (7, 8), (7, 10)),
    ),
    "MultiheadAttention with a mask of each head": Layer(
        lambda nn: nn.MultiheadAttention(2, 16, key=key()),
        ((5, 16),),
        ["Attention"],
        call=lambda layer, x: layer(x, x, x, mask=np.stack([np.tril(np.ones((5, 5), bool)), np.ones((5, 5), bool)])),
    ),
    "MultiheadAttention with rotated heads": Layer(
        lambda nn: (nn.MultiheadAttention(4, 32, key=key()), nn.RotaryPositionalEmbedding(8)),
        ((5, 32),),
        ["Attention", "RotaryEmbedding"],
        call=rotated,
    ),
    "RotaryPositionalEmbedding": Layer(lambda nn: nn.RotaryPositionalEmbedding(8), ((5, 8),), ["RotaryEmbedding"]),
    "RotaryPositionalEmbedding in float16": Layer(
        lambda nn: nn.RotaryPositionalEmbedding(8, theta=100.0, dtype=jnp.float16), ((5, 8),)
    ),
    "GRUCell": Layer(lambda nn: nn.GRUCell(6, 4, key=key()), ((6,), (4,)), ["MatMul"]),
    "GRUCell over a sequence": Layer(lambda nn: nn.GRUCell(6, 4, key=key()), ((5, 6),), call=scan_gru),
    "LSTMCell": Layer(
        lambda nn: nn.LSTMCell(6, 4, use_bias=False, key=key()),
        ((6,), (4,), (4,)),
        ["MatMul"],
        call=lambda layer, x, h, c: layer(x, (h, c)),
    ),
    "LSTMCell over a sequence": Layer(lambda nn: nn.LSTMCell(6, 4, key=key()), ((5, 6),), call=scan_lstm),
    "PReLU of each channel": Layer(lambda nn: nn.PReLU(jnp.array([0.1, 0.2, -0.3, 0, 1, 2])), ((6,),)),
    "PReLU": Layer(lambda nn: nn.PReLU(0.1), ((6,),), ["LeakyRelu"]),
    "Lambda": Layer(lambda nn: nn.Lambda(jax.nn.silu), ((6,),)),
    "StatefulLayer with a StateIndex": Layer(counting, ((6,),), stateful=True),
    "Sequential with state": Layer(network_with_state, ((3, 7, 8),), ["Conv"], stateful=True),
    "Shared": Layer(shared, ((6,),), ["MatMul"], call=run_shared),
}


def trained(tree: Any) -> Any:
    """Weights as training leaves them: at first norms scale by one and shift by nothing, which hides mistakes."""
    leaves, treedef = jax.tree.flatten(tree)
    for index, leaf in enumerate(leaves):
        if eqx.is_inexact_array(leaf):
            noise = jax.random.uniform(key(index), leaf.shape, leaf.dtype, 0.05, 0.3)
            leaves[index] = jnp.where(jnp.isfinite(leaf), leaf, 0) + noise
    return jax.tree.unflatten(treedef, leaves)


def made(layer: Layer, nn: Any = eqx.nn) -> tuple[Any, tuple[Any, ...]]:
    """The layer as it is used after training, and its state if it has one."""
    result = eqx.nn.inference_mode(trained(layer.make(nn)))
    return (result[0], (result[1],)) if layer.stateful else (result, ())


def batched(layer: Layer, function: Callable[..., Any]) -> Callable[..., Any]:
    in_axes, out_axes = layer.axes
    return jax.vmap(function, in_axes, out_axes, axis_name="batch")


def specs(layer: Layer, *batch: Any) -> list[Spec]:
    return [Spec((*batch, *shape), layer.dtype) for shape in layer.shapes]


def arrays(layer: Layer, *batch: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(*batch, *shape) for shape in layer.shapes]
    if np.issubdtype(layer.dtype, np.integer):
        return [rng.integers(0, 9, shape).astype(layer.dtype) for shape in shapes]
    return [rng.standard_normal(shape).astype(layer.dtype) for shape in shapes]


def opsets(name: str, turn: int) -> tuple[int, ...]:
    if os.environ.get("J2O_EVERY_OPSET"):
        return OPSETS
    return (OPSETS[(list(LAYERS).index(name) + turn) % len(OPSETS)],)


each_layer = pytest.mark.parametrize("name", LAYERS)


@each_layer
def test_alone(name):
    layer = LAYERS[name]
    module, state = made(layer)
    check(lambda *args: layer.call(module, *args), *specs(layer), *state, opsets=opsets(name, 0))


@each_layer
def test_batch_of_any_size(name):
    layer = LAYERS[name]
    module, state = made(layer)
    function = batched(layer, lambda *args: layer.call(module, *args))
    tried = opsets(name, 1)
    check(
        function, *specs(layer, "B"), *state, opsets=tried, sizes=(3,), contains=layer.operators if 26 in tried else ()
    )


@each_layer
def test_batch_of_batches(name):
    layer = LAYERS[name]
    module, state = made(layer)
    function = batched(layer, batched(layer, lambda *args: layer.call(module, *args)))
    check(function, *specs(layer, "B", 2), *state, opsets=opsets(name, 2), sizes=(3,))


@each_layer
def test_gradients(name):
    """Of a sum over the batch, with respect to parameters and, where they are real numbers, inputs."""
    layer = LAYERS[name]
    module, state = made(layer)
    parameters, rest = eqx.partition(module, eqx.is_inexact_array)
    parameters, treedef = jax.tree.flatten(parameters)
    inputs = arrays(layer, 3)
    differentiated = (0, 1) if layer.dtype == np.float32 else 0

    def loss(parameters, inputs, *state):
        model = eqx.combine(jax.tree.unflatten(treedef, parameters), rest)
        result = batched(layer, lambda *args: layer.call(model, *args))(*inputs, *state)
        outputs = jax.tree.leaves(result[0] if layer.stateful else result)
        return sum(jnp.sum(jnp.sin(output)) for output in outputs)

    check(jax.grad(loss, differentiated), parameters, inputs, *state, opsets=opsets(name, 3))


class Wrapped(eqx.Module):
    """A model of one's own around a layer."""

    inner: Any
    call: Any = eqx.field(static=True)

    @eqx.filter_jit
    def __call__(self, *arguments):
        return self.call(self.inner, *arguments)


@each_layer
def test_derived_and_wrapped_layers_give_the_same_graph(name):
    layer = LAYERS[name]
    graphs = []
    for nn in (eqx.nn, DERIVED):
        module, state = made(layer, nn)
        plain = batched(layer, lambda *args, module=module: layer.call(module, *args))
        for function in (plain, batched(layer, Wrapped(module, layer.call))):
            program = to_onnx(function, [*specs(layer, "B"), *state], opset=OPSETS[-1])
            graphs.append([node.op_type for node in program.model.graph])
    assert graphs == [graphs[0]] * 4
    assert set(layer.operators) <= set(graphs[0])


def test_every_public_name_has_a_case():
    """A release of Equinox with another layer or function fails here: give it a row, or a test in test_training.py."""
    others = {"State", "StateIndex", "delete_init_state", "inference_mode", "make_with_state"}
    names = {name for name in dir(eqx.nn) if not name.startswith("_") and callable(getattr(eqx.nn, name))}
    assert names - {name.split()[0] for name in LAYERS} == others


def test_state_is_an_input_and_an_output():
    layer = LAYERS["StatefulLayer with a StateIndex"]
    module, state = made(layer)
    program = check(lambda x, state: layer.call(module, x, state), Spec((6,)), *state, opsets=(21,))
    assert len(program.model.graph.inputs) == len(program.model.graph.outputs) == 2


def test_weights_carry_their_path():
    model = eqx.nn.MLP(6, 3, 8, 1, key=key())
    program = check(jax.vmap(model), Spec(("B", 6)), opsets=(21,))
    assert {
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    } <= set(program.model.graph.initializers)


def test_a_batch_that_jax_rejects_is_rejected():
    with pytest.raises(TraceError, match="JAX cannot trace"):
        to_onnx(eqx.nn.Linear(6, 4, key=key()), [(3, 6)])
