"""Exporting leaves the process as it found it."""

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import graph_text
from j2o_core.trace import _capture

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def kept(plugin):
    """`jnp.tanh` and `jax.nn.relu` kept whole; neither primitive below them has a rule."""
    for target, op_type in (("jax.numpy.tanh", "Tanh"), ("jax.nn.relu", "Relu")):
        composite = plugin.composite(target)
        composite.transforms_ready = True
        plugin.lowering(composite)(lambda ctx, x, op_type=op_type: ctx.op(op_type, x))
    return plugin


def counted():
    """A jitted function that counts how often it is traced."""
    traces = []

    @jax.jit
    def fn(x):
        traces.append(1)
        return jax.nn.relu(jnp.tanh(x)) + 1

    return fn, traces


def test_a_jitted_function_works_after_it_was_exported(kept, export):
    fn, traces = counted()
    program = export(fn, [(2, 3)])
    exported = len(traces)
    np.testing.assert_allclose(fn(X), np.maximum(np.tanh(X), 0) + 1, rtol=1e-6)
    assert len(traces) == exported + 1  # nothing of the export was found in its cache
    fn(X)
    assert len(traces) == exported + 1  # and its own entry is
    assert [node.op_type for node in program.model.graph] == ["Tanh", "Relu", "Add"]
    np.testing.assert_allclose(jax.grad(lambda x: fn(x).sum())(X), (X > 0) * (1 - np.tanh(X) ** 2), rtol=1e-5)


def test_a_function_that_has_run_gives_the_same_graph(kept, export):
    fresh, _ = counted()
    before = graph_text(export(fresh, [(2, 3)]).model)
    fn, traces = counted()
    fn(X)
    jax.vmap(fn)(X)
    jax.grad(lambda x: fn(x).sum())(X)
    ran = len(traces)
    assert graph_text(export(fn, [(2, 3)]).model) == before
    assert len(traces) > ran  # it was looked at anew
    assert graph_text(export(fn, [(2, 3)]).model) == before


def test_exporting_does_not_make_the_next_call_trace_again(kept, export):
    fn, traces = counted()
    fn(X)
    export(fn, [(2, 3)])
    ran = len(traces)
    fn(X)
    assert len(traces) == ran


def test_other_plugins_give_other_graphs_of_the_same_function(kept, export, new_plugin):
    """A trace under one set of composites is not found under another."""
    import j2o_core

    fn, _ = counted()
    whole = export(fn, [(2, 3)])
    assert [node.op_type for node in whole.model.graph] == ["Tanh", "Relu", "Add"]
    plain = new_plugin("plain")
    plain.lowering("tanh")(lambda ctx, x, **_: ctx.op.Tanh(x))
    parts = j2o_core.to_onnx(fn, [(2, 3)], plugins=[plain])
    assert [node.op_type for node in parts.model.graph] == ["Tanh", "Max", "Add"]
    np.testing.assert_allclose(parts(X), whole(X), rtol=1e-6)
    assert graph_text(export(fn, [(2, 3)]).model) == graph_text(whole.model)


def functions():
    return {"jnp.tanh": jnp.tanh, "jax.numpy.tanh": sys.modules["jax.numpy"].tanh, "relu": jax.nn.relu}


def test_afterwards_every_function_is_what_it_was(kept, export):
    before = functions()
    export(lambda x: jax.nn.relu(jnp.tanh(x)), [(2, 3)])
    with pytest.raises(Exception, match="qr"):
        export(lambda x: jnp.linalg.qr(jnp.tanh(x))[0], [(2, 3)])
    after = functions()
    assert all(after[name] is before[name] for name in before)


def test_several_threads_export_and_compute_at_once(kept, export):
    before = functions()
    shared, _ = counted()
    expected = graph_text(export(shared, [(2, 3)]).model)
    wanted = np.maximum(np.tanh(X), 0) + 1
    start = threading.Barrier(6)
    errors, graphs = [], []

    def exporting():
        start.wait()
        for _ in range(5):
            fresh, _ = counted()
            graphs.append(graph_text(export(fresh, [(2, 3)]).model))
            graphs.append(graph_text(export(shared, [(2, 3)]).model))

    def computing():
        start.wait()
        for _ in range(20):
            fresh, _ = counted()
            np.testing.assert_allclose(fresh(X), wanted, rtol=1e-6)
            np.testing.assert_allclose(jax.vmap(shared)(X), wanted, rtol=1e-6)
            primitives = {eqn.primitive.name for eqn in jax.make_jaxpr(jnp.tanh)(X).eqns}
            assert "jax.numpy.tanh" not in primitives

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(work,)) for work in [exporting] * 4 + [computing] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(graphs) == 40
    assert set(graphs) == {expected}
    after = functions()
    assert all(after[name] is before[name] for name in before)
    assert not _capture._installed


def config():
    return dict(jax.config.values)


def test_no_configuration_changes(kept, export, tmp_path):
    before = config()
    program = export(jax.nn.relu, [("B", 3)])
    program.verify()
    program.save(tmp_path / "m.onnx")
    with jax.enable_x64(True):
        during = config()
        export(jax.nn.relu, [np.zeros((2, 3))])
        assert config() == during
    assert config() == before


def test_an_export_inside_a_trace_leaves_the_trace_alone(kept, export):
    """A checkpoint hook inside a jitted training step, called while it is traced."""
    seen = []

    @jax.jit
    def step(x):
        y = jnp.tanh(x)
        seen.append([node.op_type for node in export(lambda z: jnp.tanh(z) + 1, [(3,)]).model.graph])
        return y * 2

    np.testing.assert_allclose(step(X), np.tanh(X) * 2, rtol=1e-6)
    assert seen == [["Tanh", "Add"]]


def test_importing_loads_neither_jax_nor_onnx_nor_frameworks():
    code = """
import sys
import j2o_core
heavy = {"jax", "onnx", "onnx_ir", "onnxruntime", "equinox", "rich", "sympy"} & set(sys.modules)
assert not heavy, heavy
j2o_core.to_onnx
assert not {"onnx_ir", "onnxruntime", "equinox", "rich", "sympy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_exporting_imports_no_framework_that_is_not_used():
    code = """
import sys, jax.numpy as jnp
import j2o_core
plugin = j2o_core.Plugin("p")
plugin.composite("equinox.nn.LayerNorm.__call__").transforms_ready = True
plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Sin(x))
j2o_core.to_onnx(jnp.sin, [(3,)], plugins=[plugin])
assert not {"equinox", "flax", "torch", "onnxruntime"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sympy_is_loaded_for_arithmetic_of_symbolic_sizes_only():
    """onnx_ir imports it, and it takes half of the time of a first export."""
    code = """
import sys, jax.numpy as jnp
import j2o_core
plugin = j2o_core.Plugin("p")
plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Sin(x))
j2o_core.to_onnx(jnp.sin, [("N", 3)], plugins=[plugin]).report()
assert not [name for name in sys.modules if name.partition(".")[0] == "sympy"]

import onnx_ir as ir
assert str(ir.SymbolicDim("N") + 1) == "N + 1"
import sympy
assert ir.SymbolicDim(sympy.Symbol("N") + 1).value == "N + 1"
assert type(sympy).__name__ == "module" and sympy.Symbol.__module__ == "sympy.core.symbol"
assert type(ir.__loader__) is type(sympy.__loader__) is type(ir.__spec__.loader)
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("j2o")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("first", ["sympy", "onnx_ir", "sympy, onnx_ir"])
def test_modules_that_are_imported_already_stay(first):
    code = f"""
import sys, {first}
before = {{name: sys.modules[name] for name in "{first}".split(", ")}}
import j2o_core, onnx_ir, sympy
j2o_core.OnnxProgram
assert all(sys.modules[name] is module for name, module in before.items())
assert str(onnx_ir.SymbolicDim("N") * 2) == "2*N"
assert sympy.Symbol.__module__ == "sympy.core.symbol"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
