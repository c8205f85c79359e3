"""Exporting changes nothing in the process around it."""

import subprocess
import sys
import threading
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.testing import graph_text

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)


def op_types(fn: object, *specs: object) -> list[str]:
    return [node.op_type for node in j2o_core.to_onnx(fn, specs, opset=21).model.graph]


def network() -> eqx.nn.MLP:
    return eqx.nn.MLP(4, 2, 8, 1, activation=jax.nn.gelu, key=jax.random.key(0))


def test_a_jitted_function_works_after_it_was_exported() -> None:
    """A training loop may export at each checkpoint: step, gradient and model run on as before."""

    @jax.jit
    def predict(model: eqx.nn.MLP, x: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.where(x[:, :1] > 0, jax.vmap(model)(x), 0.0))

    @jax.jit
    def step(model: eqx.nn.MLP, x: jax.Array) -> eqx.nn.MLP:
        gradient = jax.grad(lambda model: (predict(model, x) ** 2).sum())(model)
        return jax.tree.map(lambda w, g: w - 0.1 * g, model, gradient)

    def train(checkpoint: bool) -> eqx.nn.MLP:
        model = eqx.filter(network(), eqx.is_array), eqx.filter(network(), eqx.is_array, inverse=True)
        weights = model[0]
        for _ in range(3):
            combined = eqx.combine(weights, model[1])
            gradient = eqx.filter_grad(lambda m: (jax.vmap(m)(X) ** 2).sum())(combined)
            weights = jax.tree.map(lambda w, g: w - 0.1 * g, weights, eqx.filter(gradient, eqx.is_array))
            if checkpoint:
                program = j2o_core.to_onnx(jax.jit(jax.vmap(eqx.combine(weights, model[1]))), [("B", 4)])
                program.verify()
        return weights

    with_checkpoints, without = train(True), train(False)
    jax.tree.map(np.testing.assert_array_equal, with_checkpoints, without)

    square = jax.jit(lambda x: jax.nn.softmax(jnp.where(x > 0, x, 0.0)))
    wanted = square(X)
    j2o_core.to_onnx(square, [X])
    np.testing.assert_array_equal(square(X), wanted)
    np.testing.assert_array_equal(jax.vmap(square)(X), jnp.stack([square(row) for row in X]))
    jax.grad(lambda x: square(x).sum())(X)

    fresh = jax.jit(lambda x: jax.nn.softmax(jnp.where(x > 0, x, 0.0)))
    j2o_core.to_onnx(fresh, [X])  # its first trace is an export's
    np.testing.assert_array_equal(fresh(X), wanted)
    assert "jax.nn" not in str(jax.make_jaxpr(fresh)(X))


def test_a_function_that_has_run_gives_the_graph_of_one_that_has_not() -> None:
    """Running, differentiating or mapping a function first makes no difference to its graph."""

    def make() -> object:
        inner = jax.jit(lambda x: jax.nn.softmax(jax.nn.gelu(x) @ x.T))
        return jax.jit(lambda x: jnp.where(x > 0, inner(x) @ x, jax.nn.silu(x)))

    fresh = graph_text(j2o_core.to_onnx(make(), [X]).model)
    ran = make()
    ran(X)
    jax.grad(lambda x: ran(x).sum())(X)
    jax.vmap(ran)(X[None])
    assert graph_text(j2o_core.to_onnx(ran, [X]).model) == fresh
    assert graph_text(j2o_core.to_onnx(ran, [X]).model) == fresh


def test_several_threads_export_and_trace_at_once() -> None:
    """Afterwards every function of JAX is the very object that it was, and all threads got the same graph."""
    names = [(jnp, "where"), (jax.nn, "softmax"), (jax.nn, "gelu"), (jax.nn, "dot_product_attention"), (lax, "cond")]
    names += [(jax.image, "resize"), (eqx.nn.LayerNorm, "__call__"), (jax.random, "normal"), (jnp.linalg, "solve")]
    before = [vars(owner)[name] for owner, name in names]
    start = threading.Barrier(5)
    graphs: list[str] = []
    values: list[np.ndarray] = []
    errors: list[BaseException] = []

    def fn(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.where(x > 0, jax.nn.gelu(x), x))

    wanted = np.asarray(fn(X))

    def work(exports: bool) -> None:
        try:
            start.wait()
            for _ in range(4):
                if exports:
                    graphs.append(graph_text(j2o_core.to_onnx(lambda x: fn(x), [("B", 4)]).model))
                else:
                    values.append(np.asarray(jax.jit(lambda x: fn(x))(X)))
                    assert "jax.nn.gelu" not in str(jax.make_jaxpr(lambda x: fn(x))(X))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(index < 3,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(graphs) == 12
    assert len(set(graphs)) == 1
    assert len(values) == 8
    for value in values:
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert all(vars(owner)[name] is old for (owner, name), old in zip(names, before, strict=True))


STYLES = {
    "module": "import jax\ndef fn(x): return jax.nn.softmax(jax.nn.gelu(jax.numpy.where(x > 0, x, 0)))",
    "names": "from jax.nn import softmax, gelu\nfrom jax.numpy import where\n"
    "def fn(x): return softmax(gelu(where(x > 0, x, 0)))",
    "aliases": "import jax.nn as N, jax.numpy as np\nact = N.gelu\n"
    "def fn(x): return N.softmax(act(np.where(x > 0, x, 0)))",
    "jitted": "import jax\nfrom jax.nn import gelu\n@jax.jit\ndef fn(x):\n"
    "    return jax.jit(jax.nn.softmax)(gelu(jax.numpy.where(x > 0, x, 0)))",
    "default": "import jax\ndef fn(x, act=jax.nn.gelu): return jax.nn.softmax(act(jax.numpy.where(x > 0, x, 0)))",
    "method": "import jax\nclass C:\n    act = staticmethod(jax.nn.gelu)\n    def __call__(self, x):\n"
    "        return jax.nn.softmax(self.act(jax.numpy.where(x > 0, x, 0)))\nfn = C()",
}


@pytest.mark.parametrize("style", STYLES)
def test_the_graph_does_not_depend_on_import_style(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`from jax.nn import softmax`, an alias, a default argument and a class attribute give the same operators."""
    module = types.ModuleType(f"written_in_style_{style}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(STYLES[style], module.__dict__)
    operators = op_types(module.fn, X)
    assert operators == op_types(lambda x: jax.nn.softmax(jax.nn.gelu(jnp.where(x > 0, x, 0))), X)
    assert operators[-2:] == ["Gelu", "Softmax"]


REJECTED = {
    "a batch for a layer without": lambda: (eqx.nn.Linear(4, 2, key=jax.random.key(0)), [("B", 4)]),
    "a wrong size": lambda: (network(), [(5,)]),
    "shapes that do not broadcast": lambda: (lambda x, y: x + y, [(3,), (4,)]),
    "sizes that need not be equal": lambda: (lambda x, y: x + y, [("A",), ("B",)]),
    "a branch on a value": lambda: (lambda x: x if x.sum() > 0 else -x, [(3,)]),
    "an integer gradient": lambda: (jax.grad(lambda x: x.sum()), [jax.ShapeDtypeStruct((3,), np.int32)]),
    "a carry that changes": lambda: (lambda x: lax.scan(lambda c, _: (c[:1], c), x, None, 3), [(3,)]),
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_jax_rejects_export_rejects(case: str) -> None:
    """With an error of tracing that repeats what JAX says."""
    fn, specs = REJECTED[case]()
    with pytest.raises(j2o_core.TraceError):
        j2o_core.to_onnx(fn, specs)


PROCESS = """
import atexit, builtins, gc, logging, os, signal, sys, threading, warnings
import jax, numpy as np, jax.numpy as jnp
from jax.interpreters import ad, batching, mlir
jnp.zeros(1)

def process():
    return {
        "config": dict(jax.config.values),
        # sympy, which onnx_ir needs, has a filter for a warning of its own
        "filters": [f for f in warnings.filters if not f[2].__module__.startswith("sympy")],
        "environment": dict(os.environ),
        "path": list(sys.path), "finders": list(sys.meta_path), "hook": sys.excepthook, "builtins": dir(builtins),
        "logging": list(logging.getLogger().handlers), "level": logging.getLogger().level, "folder": os.getcwd(),
        "threads": threading.active_count(), "signals": [signal.getsignal(s) for s in (2, 15)],
        "collector": (gc.get_threshold(), gc.isenabled(), list(gc.callbacks), gc.get_freeze_count()),
        "numpy": np.geterr(), "recursion": sys.getrecursionlimit(),
        "jax.numpy": {n: id(v) for n, v in vars(jnp).items()}, "jax.nn": {n: id(v) for n, v in vars(jax.nn).items()},
    }

jax.nn.softmax(jnp.zeros(2)), jnp.linalg.norm(jnp.zeros(2)), jax.random.key(0)  # what JAX does by itself
before = process()
import j2o_core, j2o_core.testing, j2o_autodiff, j2o_plugins_jax, j2o_plugins_equinox
after = process()
assert after == before, ("import", {n: (before[n], after[n]) for n in before if before[n] != after[n]})
collected = []
program = j2o_core.to_onnx(
    lambda x: (collected.append(gc.collect()), jax.nn.softmax(jnp.where(x > 0, jax.nn.gelu(x), 0)))[1], [("B", 3)]
)
assert collected
after = process()
assert after == before, {name: (before[name], after[name]) for name in before if before[name] != after[name]}
unused = {"equinox", "flax", "torch", "haiku", "optax", "diffrax", "tensorflow", "onnxruntime", "scipy.signal"}
assert not unused & set(sys.modules), unused & set(sys.modules)
"""


def test_neither_import_nor_export_changes_the_process() -> None:
    """Configuration, warnings, hooks, environment and JAX's functions stay; frameworks that are not used stay out."""
    subprocess.run([sys.executable, "-c", PROCESS], check=True)


def test_nothing_of_j2o_is_registered_with_jax() -> None:
    """Rules for primitives of JAX are neither added nor replaced; those for our own are for our own."""
    code = """
import jax
from jax.interpreters import ad
tables = [ad.primitive_jvps, ad.primitive_transposes]
before = [dict(table) for table in tables]
import j2o_core, j2o_autodiff, j2o_plugins_jax, j2o_plugins_equinox
j2o_core.to_onnx(jax.nn.gelu, [(3,)])
for table, old in zip(tables, before):
    assert all(table[primitive] is rule for primitive, rule in old.items())
    new = [primitive.name for primitive in table if primitive not in old]
    assert all(hasattr(p, "composite") or "." not in p.name for p in table if p not in old), new
"""
    subprocess.run([sys.executable, "-c", code], check=True)
