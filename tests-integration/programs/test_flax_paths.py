"""Nodes of Flax models have the module instance that was called."""

import jax
import jax.numpy as jnp
import pytest

import j2o_core
from j2o_core.graph._walk import all_graphs

nnx = pytest.importorskip("flax.nnx")
linen = pytest.importorskip("flax.linen")


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.l1 = nnx.Linear(8, 16, rngs=rngs)
        self.l2 = nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x):
        x = x + self.attn(self.norm(x))
        return x + self.l2(jax.nn.gelu(self.l1(x)))


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([Block(rngs) for _ in range(3)])
        self.scale = nnx.Param(jnp.full(8, 2.0))
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return jnp.tanh(self.head(x * self.scale[...]))


def paths(program):
    return [(n.op_type, n.metadata_props.get("j2o.module")) for g in all_graphs(program.model.graph) for n in g]


@pytest.mark.parametrize("opset", [21, 23])
def test_every_node_of_an_nnx_transformer_has_its_instance(opset):
    model = Transformer(nnx.Rngs(0))
    program = j2o_core.to_onnx(model, [("B", "T", 8)], opset=opset)
    found = paths(program)
    parts = ("", ".norm", ".attn", ".attn.query", ".attn.key", ".attn.value", ".attn.out", ".l1", ".l2")
    names = {f"blocks.{i}{part}" for i in range(3) for part in parts}
    # At 21, sizes that the heads of several blocks need are computed once, for all blocks.
    common = {"blocks"} if opset == 21 else set()
    assert {module for _, module in found} == {*names, *common, "head", "Transformer"}
    assert all(module != "blocks" or op in {"Shape", "Gather", "Reshape", "Concat"} for op, module in found)
    assert [op for op, module in found if module == "blocks.1.l1"] == ["MatMul", "Add"]
    program.verify(sizes=(2,))


def test_variables_are_trees():
    model = Transformer(nnx.Rngs(0))
    graph, state = nnx.split(model)
    program = j2o_core.to_onnx(lambda state, x: nnx.merge(graph, state)(x), [state, ("B", "T", 8)], opset=23)
    assert "state.blocks.0.l1.kernel" in {name.removesuffix(".value") for name in program.input_names}


def test_linen_names_its_instances():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(4, name="out")(jnp.tanh(linen.Dense(8)(x)))

    net = Net()
    variables = net.init(jax.random.key(0), jnp.ones((1, 3)))
    found = paths(j2o_core.to_onnx(lambda x: net.apply(variables, x), [("B", 3)]))
    assert [module.rpartition("/")[2] for _, module in found] == ["Dense_0", "Dense_0", "Net", "out", "out"]


def test_a_layer_in_training_mode_is_advised_to_be_set_to_inference():
    net = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    with pytest.raises(j2o_core.TraceError, match=r"model\.eval\(\)"):
        j2o_core.to_onnx(net, [("B", 4)])
    net.eval()
    j2o_core.to_onnx(net, [("B", 4)])
