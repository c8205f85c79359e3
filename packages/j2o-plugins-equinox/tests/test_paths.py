"""Nodes have the path of the module instance that was called."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from j2o_core import to_onnx
from j2o_core.graph._walk import all_graphs


class Block(eqx.Module):
    norm: eqx.nn.LayerNorm
    attn: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP

    def __init__(self, key):
        keys = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(8)
        self.attn = eqx.nn.MultiheadAttention(2, 8, key=keys[0])
        self.mlp = eqx.nn.MLP(8, 8, 16, 1, activation=jax.nn.gelu, key=keys[1])

    def __call__(self, x):
        y = jax.vmap(self.norm)(x)
        x = x + self.attn(y, y, y)
        return x + jax.vmap(self.mlp)(x)


class Model(eqx.Module):
    blocks: list[Block]
    head: eqx.nn.Linear

    def __init__(self):
        self.blocks = [Block(key) for key in jax.random.split(jax.random.key(0))]
        self.head = eqx.nn.Linear(8, 4, key=jax.random.key(1))

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return jnp.tanh(jax.vmap(self.head)(x))


def paths(fn, inputs=(("T", 8),), opset=23):
    """(operator, module) of each node."""
    program = to_onnx(fn, list(inputs), opset=opset)
    return [(n.op_type, n.metadata_props.get("j2o.module")) for g in all_graphs(program.model.graph) for n in g]


@pytest.mark.parametrize("wrap", [lambda f: f, eqx.filter_jit, eqx.filter_checkpoint])
def test_every_node_has_the_instance_that_was_called(wrap):
    nodes = paths(wrap(Model()))
    assert all(module is not None for _, module in nodes)
    found = dict(nodes)
    assert found["LayerNormalization"] == "blocks.1.norm"
    assert found["Attention"] == "blocks.1.attn"
    assert found["Gelu"] == "blocks.1.mlp"
    assert found["Tanh"] == "Model"
    assert {"blocks.0", "blocks.0.attn.query_proj", "blocks.0.mlp.layers.0", "head"} <= {module for _, module in nodes}
    sums = [module for op, module in nodes if op == "Add" and module in ("blocks.0", "blocks.1")]
    assert sums == ["blocks.0"] * 2 + ["blocks.1"] * 2


def test_under_vmap_and_beside_other_code():
    model = Model()
    nodes = paths(lambda x: jax.vmap(model)(jnp.sin(x)), [("B", "T", 8)])
    assert nodes[0] == ("Sin", None)
    assert {module for op, module in nodes if op == "Attention"} == {"blocks.0.attn", "blocks.1.attn"}


def test_blocks_in_one_scan():
    blocks = eqx.filter_vmap(Block)(jax.random.split(jax.random.key(0)))

    class Scanned(eqx.Module):
        blocks: Block

        def __call__(self, x):
            arrays, static = eqx.partition(self.blocks, eqx.is_array)
            return jax.lax.scan(lambda x, one: (eqx.combine(one, static)(x), None), x, arrays)[0]

    found = dict(paths(Scanned(blocks)))
    assert found["LayerNormalization"] == "blocks.norm"
    assert found["Gelu"] == "blocks.mlp"


def test_gradients_keep_the_modules():
    model = eqx.nn.MLP(4, 1, 8, 2, activation=jnp.tanh, key=jax.random.key(0))
    nodes = paths(jax.vmap(jax.grad(lambda x: model(x).sum())), [("B", 4)])
    assert {"layers.0", "layers.1"} <= {module for _, module in nodes}
    assert sum(module is None for _, module in nodes) <= 1


def test_dropout_with_a_fixed_key_is_named():
    fixed = jax.random.key(0)

    class Net(eqx.Module):
        drop: eqx.nn.Dropout

        def __call__(self, x, key=None):
            return self.drop(jnp.sin(x), key=fixed if key is None else key)

    net = Net(eqx.nn.Dropout(0.5))
    with pytest.warns(UserWarning, match=r"drop \(Dropout\): its key is fixed in the graph"):
        to_onnx(net, [(4,)])
    to_onnx(net, [(4,), jax.random.key(0)])
    to_onnx(eqx.nn.inference_mode(net), [(4,)])
