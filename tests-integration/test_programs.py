"""Whole programs through all packages at once, over opsets and over static and symbolic shapes."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jax import lax

import j2o_core

Program = tuple[Callable[..., object], list[object]]


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


def perceptron(batch: int | str) -> Program:
    return jax.vmap(eqx.nn.MLP(6, 3, 16, 2, activation=jax.nn.silu, key=jax.random.key(0))), [(batch, 6)]


def convolutional_network(batch: int | str) -> Program:
    first, second, last = keys(3)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, 8, 3, stride=2, padding=1, key=first),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(8, 8, 3, padding="SAME", groups=4, key=second),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(8 * 6 * 6, 5, key=last),
        ]
    )
    return jax.vmap(model), [(batch, 3, 12, 12)]


class Block(eqx.Module):
    """A transformer block with a rotary embedding."""

    attention: eqx.nn.MultiheadAttention
    rope: eqx.nn.RotaryPositionalEmbedding
    norms: list[eqx.nn.LayerNorm]
    feed_forward: eqx.nn.MLP

    def __init__(self, size: int, heads: int):
        first, second = keys(2)
        self.attention = eqx.nn.MultiheadAttention(heads, size, key=first)
        self.rope = eqx.nn.RotaryPositionalEmbedding(size // heads)
        self.norms = [eqx.nn.LayerNorm(size), eqx.nn.LayerNorm(size)]
        self.feed_forward = eqx.nn.MLP(size, size, 2 * size, 1, activation=jax.nn.gelu, key=second)

    def __call__(self, x: jax.Array) -> jax.Array:
        def rotate(query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            return jax.vmap(self.rope, 1, 1)(query), jax.vmap(self.rope, 1, 1)(key), value

        normed = jax.vmap(self.norms[0])(x)
        x = x + self.attention(normed, normed, normed, process_heads=rotate)
        return x + jax.vmap(lambda token: self.feed_forward(self.norms[1](token)))(x)


def trained(model: Block) -> Block:
    """The model with weights as training leaves them: at first norms scale by one, which hides mistakes."""
    leaves, treedef = jax.tree.flatten(model)
    for index, key in enumerate(keys(len(leaves))):
        if eqx.is_inexact_array(leaves[index]):
            leaves[index] += 0.1 * jax.random.normal(key, leaves[index].shape)
    return jax.tree.unflatten(treedef, leaves)


def transformer_block(batch: int | str) -> Program:
    return jax.vmap(trained(Block(16, 2))), [(batch, 7, 16)]


def attention_of_any_length(length: int | str) -> Program:
    def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(query, key, value, is_causal=True)

    return attend, [(2, length, 2, 8)] * 3


def recurrent_network(batch: int | str) -> Program:
    cell = eqx.nn.GRUCell(4, 6, key=jax.random.key(0))

    def run(sequence: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = cell(x, state)
            return state, state

        return lax.scan(step, jnp.zeros(6), sequence)

    return jax.vmap(run), [(batch, 5, 4)]


def training_step(batch: int | str) -> Program:
    model = eqx.nn.MLP(4, 2, 8, 1, activation=jnp.tanh, key=jax.random.key(0))

    def step(weights: object, x: jax.Array, target: jax.Array) -> tuple[object, jax.Array]:
        def loss(weights: object) -> jax.Array:
            return jnp.mean((jax.vmap(eqx.combine(weights, static))(x) - target) ** 2)

        value, gradient = jax.value_and_grad(loss)(weights)
        return jax.tree.map(lambda weight, slope: weight - 0.1 * slope, weights, gradient), value

    arrays, static = eqx.partition(model, eqx.is_array)
    return step, [arrays, (batch, 4), (batch, 2)]


def newton_iteration(batch: int | str) -> Program:
    def root(x: jax.Array) -> jax.Array:
        def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            count, guess = state
            return count + 1, 0.5 * (guess + x / guess)

        return lax.while_loop(lambda state: state[0] < 12, body, (0, jnp.ones_like(x)))[1]

    return lambda x: root(1 + jnp.abs(x)), [(batch, 3)]


PROGRAMS = [
    perceptron,
    convolutional_network,
    transformer_block,
    attention_of_any_length,
    recurrent_network,
    training_step,
    newton_iteration,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program_gives_what_jax_gives(program: Callable[[int | str], Program], opset: int, symbolic: bool) -> None:
    function, specs = program("N" if symbolic else 3)
    exported = j2o_core.to_onnx(function, specs, opset=opset)
    exported.check()
    verification = exported.verify()
    assert verification is not None
    assert exported.opset == opset
    assert ("N" in str(exported.model.graph.inputs[-1].shape)) == symbolic


def test_weights_keep_their_place_in_the_model_as_name(opset: int) -> None:
    block = trained(Block(16, 2))
    paths = [path for path, leaf in jax.tree_util.tree_leaves_with_path(block) if eqx.is_inexact_array(leaf)]
    names = {jax.tree_util.keystr(path, simple=True, separator=".") for path in paths}
    exported = j2o_core.to_onnx(jax.vmap(block), [("N", 7, 16)], opset=opset)
    assert {name for name in exported.model.graph.initializers if not name.startswith("const_")} == names
    assert "attention.query_proj.weight" in names
