"""The plugin without Flax: modules of the same form are named."""

import subprocess
import sys
import types

import jax.numpy as jnp

import j2o_core
from j2o_plugins_flax import plugin

_IMPORTED = """
import sys, j2o_core
assert "flax" in [plugin.name for plugin in j2o_core.Registry.installed().plugins]
print(any(name.split(".")[0] == "flax" for name in sys.modules))
"""


def test_it_is_installed_and_imports_no_flax():
    done = subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Module:
    pass


class Double(Module):
    dtype = None  # as some layers have one

    def __call__(self, x):
        return x * 2


class Net(Module):
    def __init__(self):
        self.layers = [Double(), Double()]

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


def test_nodes_have_the_path_of_the_module_that_was_called(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax.nnx", types.SimpleNamespace(Module=Module))
    program = j2o_core.to_onnx(Net(), [("B", 3)])
    found = [(node.op_type, node.metadata_props["j2o.module"]) for node in program.model.graph]
    assert found == [("Mul", "layers.0"), ("Tanh", "Net"), ("Mul", "layers.1"), ("Tanh", "Net")]
    assert plugin.modules == {"flax.nnx.Module": ()}


class GraphDef:
    """A definition without weights, of nodes with and without a class of modules."""

    def __init__(self, *kinds):
        self.nodes = [types.SimpleNamespace(type=kind) for kind in kinds] + [types.SimpleNamespace(index=3)]


def merge(graphdef):
    return graphdef.nodes[0].type()


def modules_of(fn):
    program = j2o_core.to_onnx(fn, [("B", 3)])
    return [node.metadata_props.get("j2o.module") for node in program.model.graph]


def test_a_model_that_is_made_inside_of_the_function_has_its_paths(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax.nnx", types.SimpleNamespace(Module=Module, GraphDef=GraphDef))
    graphdef = GraphDef(Net, list, Double, Double)
    expected = ["layers.0", "Net", "layers.1", "Net"]
    assert modules_of(Net()) == expected
    assert modules_of(lambda x: merge(graphdef)(x)) == [one if "." in one else None for one in expected]
    other = GraphDef(Net, Double)
    # Which of two models a module belongs to is not known, nor where one lies that is called by itself.
    assert set(modules_of(lambda x: merge(graphdef)(x) + merge(other)(x))) == {None}
    assert modules_of(lambda x: merge(graphdef).layers[1](x)) == [None]
