"""The rows of `bench_torch.py` as JAX has them: twins of the modules of `torch_models.py`, with random weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from mobilenet_blocks import BLOCKS

Made = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Row:
    """A function that is measured beside a module of torch, or beside another function.

    Attributes:
        name: of the row.
        make: the arrays that torch's module is fed, to a function and its inputs.
        torch: the name of torch's row.
        other: what makes the function and the inputs that take its place.
        opset: of our file.
        floor: for rows that take longer: what was measured, and why none is faster.
    """

    name: str
    make: Callable[..., Made]
    torch: str = ""
    other: Callable[[], Made] | None = None
    opset: int = 21
    floor: str = ""


def rows() -> list[Row]:
    """The table."""
    return [
        *_recurrent_rows(),
        *_resize_rows(),
        Row("BERT, 4 blocks of 256", lambda t, m: _bert(t, m, 4, 256, 4), "BERT, 4 of 256"),
        Row("BERT, 2 blocks of 768", lambda t, m: _bert(t, m, 2, 768, 12), "BERT, 2 of 768"),
        Row(
            "BERT, 2 blocks of 768, opset 23",
            lambda t, m: _bert(t, m, 2, 768, 12),
            "BERT, 2 of 768, opset 23",
            opset=23,
        ),
        Row("MobileNetV3 small, Equinox", lambda x: (jax.vmap(_Mobile()), (x,)), "MobileNetV3 small"),
        Row(
            "MobileNetV3 small, Flax",
            lambda x: (_evaluated(_MobileLast(nnx.Rngs(0))), (_last(x),)),
            "MobileNetV3 small",
        ),
        Row("conv3d, Equinox", lambda x: (jax.vmap(_volumes()), (x,)), "conv3d"),
        Row("conv3d, Flax", lambda x: (_evaluated(_VolumesLast(nnx.Rngs(0))), (_last(x),)), "conv3d"),
        Row("GCN of segment sums", _graph_network, "GCN"),
        Row("Llama, a prompt of 128 tokens", lambda t: _llama(t, 4, 512, 8, 2), "Llama prefill"),
        Row(
            "ragged_dot over a dense mixture",
            _ragged,
            other=_dense_mixture,
            floor="Both are one product of all rows with all experts. Rows are chosen by Where, which keeps NaN and "
            "infinity out of other groups, where the mixture multiplies by zero.",
        ),
    ]


def _last(x: Any) -> Any:
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def _evaluated(module: Any) -> Any:
    module.eval()
    return module


def _random(key: int, *shape: int) -> Any:
    return jax.random.normal(jax.random.key(key), shape) / np.sqrt(shape[-1])


# -- Sequences ---------------------------------------------------------------------------------------------------------


def _recurrent_rows() -> list[Row]:
    found = []
    for name, cell, flax_cell in (("LSTM", eqx.nn.LSTMCell, nnx.LSTMCell), ("GRU", eqx.nn.GRUCell, nnx.GRUCell)):
        found += [
            Row(f"{name}, Equinox", functools.partial(_equinox_sequence, cell), name),
            Row(f"{name}, Flax", functools.partial(_flax_sequence, flax_cell), name),
            Row(
                f"{name} of both directions, Equinox",
                functools.partial(_equinox_both, cell),
                f"{name}, both directions",
            ),
            Row(
                f"{name} of both directions, Flax", functools.partial(_flax_both, flax_cell), f"{name}, both directions"
            ),
        ]
    return found


def _scanned(cell: Any, reverse: bool = False) -> Callable[..., Any]:
    pair = isinstance(cell, eqx.nn.LSTMCell)

    def step(state: Any, item: Any) -> Any:
        state = cell(item, state)
        return state, state[0] if pair else state

    zeros = jnp.zeros(cell.hidden_size)
    return lambda xs: lax.scan(step, (zeros, zeros) if pair else zeros, xs, reverse=reverse)[1]


def _equinox_sequence(cell: Any, x: Any) -> Made:
    return jax.vmap(_scanned(cell(64, 128, key=jax.random.key(0))), 1, 1), (x,)


def _equinox_both(cell: Any, x: Any) -> Made:
    forward, backward = (_scanned(cell(64, 128, key=jax.random.key(i)), bool(i)) for i in range(2))
    return jax.vmap(lambda xs: jnp.concatenate([forward(xs), backward(xs)], -1), 1, 1), (x,)


def _flax_sequence(cell: Any, x: Any) -> Made:
    def make(rngs: Any) -> Any:
        return nnx.RNN(cell(64, 128, rngs=rngs), time_major=True)

    return _flax_module(make, lambda carry: carry, cell), (x,)


def _flax_both(cell: Any, x: Any) -> Made:
    def make(rngs: Any) -> Any:
        forward, backward = (nnx.RNN(cell(64, 128, rngs=rngs), time_major=True) for _ in range(2))
        return nnx.Bidirectional(forward, backward, time_major=True)

    return _flax_module(make, lambda carry: (carry, carry), cell), (x,)


def _flax_module(make: Callable[..., Any], carries: Callable[..., Any], cell: Any) -> Callable[..., Any]:
    """Calls a module of the trace, for it splits its state while it scans."""
    definition, state = nnx.split(make(nnx.Rngs(0)))

    def call(x: Any) -> Any:
        module = nnx.merge(definition, jax.tree.map(lambda leaf: leaf, state))  # variables of this trace
        zeros = jnp.zeros((x.shape[1], 128))
        return module(x, initial_carry=carries((zeros, zeros) if cell is nnx.LSTMCell else zeros))

    return call


# -- Images ------------------------------------------------------------------------------------------------------------


def _resize_rows() -> list[Row]:
    def last(x: Any, method: str) -> Made:
        return lambda x: jax.image.resize(x, (1, 96, 96, 3), method), (x,)

    def first(x: Any, method: str) -> Made:
        return lambda x: jax.image.resize(x, (1, 3, 96, 96), method), (x,)

    floor = (
        "ONNX Runtime moves Transposes through a Resize of four axes, in this graph to a kernel for channels last. In "
        "others it moves them to orders of axes that no kernel has, and fails, so ours has a Reshape in between."
    )
    return [
        Row(
            f"resize {layout}, {method}",
            functools.partial(make, method=method),
            f"resize {layout}, {method}",
            floor=floor,
        )
        for method in ("linear", "cubic")
        for layout, make in (("NCHW", first), ("NHWC", last))
    ]


def _norm(x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
    return (x - mean) * lax.rsqrt(variance + 1e-3) * scale + offset


class _ConvNorm(eqx.Module):
    conv: eqx.nn.Conv
    norm: tuple[Any, ...]

    def __init__(
        self, inner: int, outer: int, size: int, stride: int = 1, groups: int = 1, *, axes: int = 2, bias: bool = False
    ):
        key = jax.random.key(outer + size)
        self.conv = eqx.nn.Conv(axes, inner, outer, size, stride, size // 2, groups=groups, use_bias=bias, key=key)
        shape = (outer, *[1] * axes)
        self.norm = tuple(1 + 0.1 * jax.random.uniform(jax.random.key(i), shape) for i in range(4))

    def __call__(self, x: Any) -> Any:
        return _norm(self.conv(x), *self.norm)


class _Bottleneck(eqx.Module):
    layers: list[Any]
    squeeze: list[eqx.nn.Conv2d]
    act: Any = eqx.field(static=True)
    same: bool = eqx.field(static=True)

    def __init__(self, inner: int, size: int, expanded: int, outer: int, squeeze: bool, hard: bool, stride: int):
        key = jax.random.key(expanded)
        self.layers = [
            *([_ConvNorm(inner, expanded, 1)] if expanded != inner else []),
            _ConvNorm(expanded, expanded, size, stride, expanded),
            _ConvNorm(expanded, outer, 1),
        ]
        middle = expanded // 4
        down, up = eqx.nn.Conv2d(expanded, middle, 1, key=key), eqx.nn.Conv2d(middle, expanded, 1, key=key)
        self.squeeze = [down, up] if squeeze else []
        self.act = jax.nn.hard_swish if hard else jax.nn.relu
        self.same = stride == 1 and inner == outer

    def __call__(self, x: Any) -> Any:
        y = x
        for layer in self.layers[:-1]:
            y = self.act(layer(y))
        if self.squeeze:
            down, up = self.squeeze
            y = y * jax.nn.hard_sigmoid(up(jax.nn.relu(down(y.mean((1, 2), keepdims=True)))))
        y = self.layers[-1](y)
        return x + y if self.same else y


class _Mobile(eqx.Module):
    stem: _ConvNorm
    blocks: list[_Bottleneck]
    end: _ConvNorm
    head: list[eqx.nn.Linear]

    def __init__(self) -> None:
        self.stem = _ConvNorm(3, 16, 3, 2)
        channels = [16, *(outer for _, _, outer, *_ in BLOCKS)]
        self.blocks = [_Bottleneck(inner, *block) for inner, block in zip(channels, BLOCKS, strict=False)]
        self.end = _ConvNorm(channels[-1], 576, 1)
        key = jax.random.key(0)
        self.head = [eqx.nn.Linear(576, 1024, key=key), eqx.nn.Linear(1024, 1000, key=key)]

    def __call__(self, x: Any) -> Any:
        x = jax.nn.hard_swish(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = jax.nn.hard_swish(self.end(x)).mean((1, 2))
        return self.head[1](jax.nn.hard_swish(self.head[0](x)))


class _ConvNormLast(nnx.Module):
    def __init__(
        self,
        inner: int,
        outer: int,
        size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        axes: int = 2,
        bias: bool = False,
        rngs: Any,
    ):
        self.conv = nnx.Conv(
            inner,
            outer,
            (size,) * axes,
            stride,
            padding=size // 2,
            feature_group_count=groups,
            use_bias=bias,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(outer, epsilon=1e-3, rngs=rngs)
        for key, part in enumerate((self.norm.scale, self.norm.bias, self.norm.mean, self.norm.var)):
            part.value = part.value + 0.1 * jax.random.uniform(jax.random.key(key), part.value.shape)

    def __call__(self, x: Any) -> Any:
        return self.norm(self.conv(x))


class _BottleneckLast(nnx.Module):
    def __init__(
        self, inner: int, size: int, expanded: int, outer: int, squeeze: bool, hard: bool, stride: int, rngs: Any
    ):
        self.expand = _ConvNormLast(inner, expanded, 1, rngs=rngs) if expanded != inner else None
        self.depth = _ConvNormLast(expanded, expanded, size, stride, expanded, rngs=rngs)
        self.project = _ConvNormLast(expanded, outer, 1, rngs=rngs)
        self.down = nnx.Conv(expanded, expanded // 4, (1, 1), rngs=rngs) if squeeze else None
        self.up = nnx.Conv(expanded // 4, expanded, (1, 1), rngs=rngs) if squeeze else None
        self.act = nnx.hard_swish if hard else nnx.relu
        self.same = stride == 1 and inner == outer

    def __call__(self, x: Any) -> Any:
        y = self.act(self.expand(x)) if self.expand is not None else x
        y = self.act(self.depth(y))
        if self.down is not None and self.up is not None:
            y = y * nnx.hard_sigmoid(self.up(nnx.relu(self.down(y.mean((1, 2), keepdims=True)))))
        y = self.project(y)
        return x + y if self.same else y


class _MobileLast(nnx.Module):
    def __init__(self, rngs: Any):
        self.stem = _ConvNormLast(3, 16, 3, 2, rngs=rngs)
        channels = [16, *(outer for _, _, outer, *_ in BLOCKS)]
        blocks = [_BottleneckLast(inner, *block, rngs=rngs) for inner, block in zip(channels, BLOCKS, strict=False)]
        self.blocks = nnx.List(blocks)
        self.end = _ConvNormLast(channels[-1], 576, 1, rngs=rngs)
        self.first, self.second = nnx.Linear(576, 1024, rngs=rngs), nnx.Linear(1024, 1000, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.hard_swish(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = nnx.hard_swish(self.end(x)).mean((1, 2))
        return self.second(nnx.hard_swish(self.first(x)))


_VOLUMES = ((3, 16), (16, 32), (32, 64))


def _volumes() -> Callable[..., Any]:
    layers = [_ConvNorm(inner, outer, 3, axes=3, bias=True) for inner, outer in _VOLUMES]
    pool, head = eqx.nn.MaxPool3d(2, 2), eqx.nn.Linear(64, 10, key=jax.random.key(0))

    def fn(x: Any) -> Any:
        for layer in layers:
            x = pool(jax.nn.relu(layer(x)))
        return head(x.mean((1, 2, 3)))

    return fn


class _VolumesLast(nnx.Module):
    def __init__(self, rngs: Any):
        layers = [_ConvNormLast(inner, outer, 3, axes=3, bias=True, rngs=rngs) for inner, outer in _VOLUMES]
        self.layers = nnx.List(layers)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = nnx.max_pool(nnx.relu(layer(x)), (2, 2, 2), (2, 2, 2))
        return self.head(x.mean((1, 2, 3)))


# -- Graphs and experts ------------------------------------------------------------------------------------------------


def _graph_network(nodes: Any, senders: Any, receivers: Any) -> Made:
    layers = [eqx.nn.Linear(64, 64, key=jax.random.key(i)) for i in range(3)]
    count = len(nodes)

    def fn(nodes: Any, senders: Any, receivers: Any) -> Any:
        degrees = jax.ops.segment_sum(jnp.ones(receivers.shape), receivers, count)
        scale = lax.rsqrt(jnp.maximum(degrees, 1))[:, None]
        for layer in layers:
            sent = jax.vmap(layer)(nodes) * scale
            total = jax.ops.segment_sum(sent[senders], receivers, count)
            nodes = jax.nn.relu(total * scale + nodes)
        return nodes

    return fn, (nodes, senders.astype(np.int32), receivers.astype(np.int32))


_TOKENS, _EXPERTS, _WIDTH = 256, 8, 256


def _routed() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((_TOKENS, _WIDTH)).astype(np.float32)
    return tokens, np.sort(rng.integers(0, _EXPERTS, _TOKENS)).astype(np.int32)


def _ragged() -> Made:
    """Tokens in the order of their experts, and how many each one has."""
    tokens, experts = _routed()
    weights = _random(0, _EXPERTS, _WIDTH, _WIDTH)
    sizes = np.bincount(experts, minlength=_EXPERTS).astype(np.int32)
    return lambda x, sizes: lax.ragged_dot(x, weights, sizes), (tokens, sizes)


def _dense_mixture() -> Made:
    """The product with all experts, weighed by the choice."""
    tokens, experts = _routed()
    weights = _random(0, _EXPERTS, _WIDTH, _WIDTH)

    def fn(x: Any, experts: Any) -> Any:
        return jnp.einsum("td,edf,te->tf", x, weights, jax.nn.one_hot(experts, _EXPERTS))

    return fn, (tokens, experts)


# -- Text --------------------------------------------------------------------------------------------------------------


class _BertBlock(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: Any):
        self.heads = heads
        self.query, self.key, self.value, self.out = (_linear(width, width, rngs) for _ in range(4))
        self.up, self.down = _linear(width, 4 * width, rngs), _linear(4 * width, width, rngs)
        self.first, self.second = _layer_norm(width, rngs), _layer_norm(width, rngs)

    def __call__(self, x: Any, bias: Any) -> Any:
        def split(y: Any) -> Any:
            return y.reshape(*y.shape[:2], self.heads, -1)

        mixed = nnx.dot_product_attention(split(self.query(x)), split(self.key(x)), split(self.value(x)), bias=bias)
        x = self.first(x + self.out(mixed.reshape(x.shape)))
        return self.second(x + self.down(nnx.gelu(self.up(x), approximate=False)))


class _Bert(nnx.Module):
    def __init__(self, blocks: int, width: int, heads: int, rngs: Any):
        self.words, self.places, self.types = (nnx.Embed(size, width, rngs=rngs) for size in (5000, 512, 2))
        self.norm = _layer_norm(width, rngs)
        self.blocks = nnx.List([_BertBlock(width, heads, rngs) for _ in range(blocks)])

    def __call__(self, tokens: Any, mask: Any) -> Any:
        places = jnp.arange(tokens.shape[1])[None]
        x = self.norm(self.words(tokens) + self.types(jnp.zeros_like(tokens)) + self.places(places))
        bias = jnp.where(mask[:, None, None, :] > 0, 0.0, jnp.finfo(jnp.float32).min)
        for block in self.blocks:
            x = block(x, bias)
        return x


def _linear(inner: int, outer: int, rngs: Any) -> Any:
    return nnx.Linear(inner, outer, bias_init=nnx.initializers.normal(0.02), rngs=rngs)


def _layer_norm(width: int, rngs: Any) -> Any:
    return nnx.LayerNorm(width, epsilon=1e-12, bias_init=nnx.initializers.normal(0.02), rngs=rngs)


def _bert(tokens: Any, mask: Any, blocks: int, width: int, heads: int) -> Made:
    return _evaluated(_Bert(blocks, width, heads, nnx.Rngs(0))), (tokens.astype(np.int32), mask.astype(np.int32))


def _llama(tokens: Any, blocks: int, width: int, heads: int, groups: int) -> Made:
    """Grouped queries by einsum: queries of a group share its keys and values."""
    size, inner = width // heads, 1408
    shapes = {
        "q": (width, heads * size),
        "k": (width, groups * size),
        "v": (width, groups * size),
        "o": (heads * size, width),
        "gate": (width, inner),
        "up": (width, inner),
        "down": (inner, width),
    }
    layers = [
        {name: _random(7 * i + j, *shape) for j, (name, shape) in enumerate(shapes.items())} for i in range(blocks)
    ]
    table, scales = _random(1000, 5000, width), 1 + 0.02 * _random(1001, 2 * blocks + 1, width)

    def norm(x: Any, scale: Any) -> Any:
        return x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale

    def rotated(x: Any) -> Any:
        angles = jnp.arange(x.shape[1])[:, None] / 10000 ** (jnp.arange(0, size, 2) / size)
        angles = jnp.concatenate([angles, angles], -1)[None, :, None]
        left, right = jnp.split(x, 2, -1)
        return x * jnp.cos(angles) + jnp.concatenate([-right, left], -1) * jnp.sin(angles)

    def attention(x: Any, layer: Any) -> Any:
        batch, length, _ = x.shape
        q = rotated((x @ layer["q"]).reshape(batch, length, heads, size))
        k = rotated((x @ layer["k"]).reshape(batch, length, groups, size))
        v = (x @ layer["v"]).reshape(batch, length, groups, size)
        q = q.reshape(batch, length, groups, heads // groups, size)
        scores = jnp.einsum("btghd,bsgd->bghts", q, k) / np.sqrt(size)
        causal = jnp.tril(jnp.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), -1)
        return jnp.einsum("bghts,bsgd->btghd", weights, v).reshape(batch, length, heads * size) @ layer["o"]

    def fn(tokens: Any) -> Any:
        x = table[tokens]
        for i, layer in enumerate(layers):
            x = x + attention(norm(x, scales[2 * i]), layer)
            y = norm(x, scales[2 * i + 1])
            x = x + (jax.nn.silu(y @ layer["gate"]) * (y @ layer["up"])) @ layer["down"]
        return norm(x, scales[-1])

    return fn, (tokens.astype(np.int32),)
