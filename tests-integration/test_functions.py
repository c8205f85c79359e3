"""Calls that stay functions of the file: equal ones are one function, with the numbers of the inlined graph."""

import functools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx.inliner
import onnx_ir as ir
import pytest

import j2o_core
from j2o_core import OnnxProgram, SpecError, VerifyError, to_onnx
from j2o_core.lower._equations import Lowerer
from j2o_runtime import Runner

DIM = 8
TRACED: list[str] = []


class Attention(eqx.Module):
    qkv: eqx.nn.Linear
    out: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, key: jax.Array, heads: int, dtype: Any):
        one, two = jax.random.split(key)
        self.qkv = eqx.nn.Linear(DIM, 3 * DIM, dtype=dtype, key=one)
        self.out = eqx.nn.Linear(DIM, DIM, dtype=dtype, key=two)
        self.heads = heads

    def __call__(self, x: jax.Array, length: jax.Array) -> jax.Array:
        q, k, v = jnp.moveaxis(jax.vmap(self.qkv)(x).reshape(x.shape[0], 3, self.heads, -1), 1, 0)
        seen = jnp.arange(x.shape[0]) < length
        return jax.vmap(self.out)(jax.nn.dot_product_attention(q, k, v, mask=seen[None, None]).reshape(x.shape))


class Block(eqx.Module):
    norm: eqx.nn.LayerNorm
    attention: Attention
    wide: eqx.nn.Linear

    def __init__(self, key: jax.Array, heads: int = 2, dtype: Any = jnp.float32):
        one, two = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(DIM, dtype=dtype)
        self.attention = Attention(one, heads, dtype)
        self.wide = eqx.nn.Linear(DIM, DIM, dtype=dtype, key=two)

    def __call__(self, x: jax.Array, length: jax.Array) -> jax.Array:
        TRACED.append(str(x.shape))
        x = x + self.attention(jax.vmap(self.norm)(x), length)
        return x + jax.nn.gelu(jax.vmap(self.wide)(x))


class Net(eqx.Module):
    blocks: list[Block]

    def __init__(self, depth: int, **options: Any):
        self.blocks = [Block(key, **options) for key in jax.random.split(jax.random.key(0), depth)]

    def __call__(self, x: jax.Array, length: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x, length)
        return x


INT = jax.ShapeDtypeStruct((), jnp.int32)


def functions(program: OnnxProgram) -> dict[str, int]:
    """The functions of a program, and how often each is called."""
    graphs = [program.model.graph, *program.model.graph.subgraphs(), *program.model.functions.values()]
    calls = Counter(node.op_type for graph in graphs for node in graph if node.domain == "j2o.functions")
    return {name: calls[name] for _, name, _ in program.model.functions}


def weights_of(program: OnnxProgram) -> dict[str, Any]:
    """The initializers of a program that are weights."""
    return {name: one for name, one in program.model.graph.initializers.items() if name.startswith("blocks.")}


def same(program: OnnxProgram, inlined: OnnxProgram, *args: Any) -> None:
    program.check()
    for one, other in zip(jax.tree.leaves(program(*args)), jax.tree.leaves(inlined(*args)), strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float64),
            np.asarray(other, np.float64),
            rtol=2e-6,
            atol=2e-6 * float(np.abs(other).max()),
        )


@pytest.mark.parametrize(("opset", "weights"), [(18, "fold"), (21, "keep"), (23, "fold")])
def test_equal_blocks_are_one_function(opset: int, weights: str) -> None:
    net = Net(4)
    options: Any = {"opset": opset, "weights": weights}
    program = to_onnx(net, [("T", DIM), INT], functions=[Block], **options)
    assert functions(program) == {"Block": 4}
    call = [node for node in program.model.graph if node.op_type == "Block"][2]
    assert call.name == "blocks.2/Block_0"
    names = [value.name for value in call.inputs if value is not None]
    assert "blocks.2.wide.weight" in names
    (function,) = program.model.functions.values()
    inner = [value.name for value in function.inputs]
    assert {"x", "norm.weight", "attention.qkv.weight", "wide.bias"} <= set(inner)
    assert inner[names.index("blocks.2.wide.weight")] == "wide.weight"
    rng = np.random.default_rng(0)
    inlined = to_onnx(net, [("T", DIM), INT], **options)
    same(program, inlined, rng.normal(size=(5, DIM)).astype(np.float32), np.int32(3))
    assert program.verify(sizes=(4,)).max_abs < 1e-5


@pytest.mark.parametrize(("dtype", "opset"), [(jnp.float16, 21), (jnp.bfloat16, 23)])
def test_dtypes(dtype: Any, opset: int) -> None:
    net = Net(2, dtype=dtype)
    program = to_onnx(net, [jax.ShapeDtypeStruct(("T", DIM), dtype), INT], functions=[Block], opset=opset)
    assert functions(program) == {"Block": 2}
    program.verify(sizes=(4,))


def test_blocks_are_traced_and_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered, equations = [], []
    of_function, of_equation = Lowerer._function, Lowerer._equation
    monkeypatch.setattr(Lowerer, "_function", lambda *args: (lowered.append(1), of_function(*args))[1])
    monkeypatch.setattr(Lowerer, "_equation", lambda *args: (equations.append(1), of_equation(*args))[1])
    counts = []
    for depth in (3, 12):
        TRACED.clear()
        equations.clear()
        to_onnx(Net(depth), [("T", DIM), INT], functions=[Block])
        counts.append(len(equations))
        assert len(TRACED) == 1
    assert len(lowered) == 2
    assert counts[1] - counts[0] == 12 - 3  # one equation more for each call


def test_shared_work_is_done_once() -> None:
    """A mask that all blocks make of the same length is an input of theirs: no node more than in the inlined graph."""
    net = Net(4)
    program = to_onnx(net, [("T", DIM), INT], functions=[Block], opset=23)
    inlined = to_onnx(net, [("T", DIM), INT], opset=23)
    (function,) = program.model.functions.values()
    assert {"Less", "Range"}.isdisjoint(node.op_type for node in function)
    proto = onnx.inliner.inline_local_functions(ir.to_proto(program.model))
    counts = Counter(node.op_type for node in proto.graph.node)
    wanted = Counter(node.op_type for node in inlined.model.graph)
    assert {op: count for op, count in counts.items() if count > wanted[op] and op != "Constant"} == {}


@pytest.mark.parametrize("weights", ["fold", "keep"])
def test_weights_are_stored_as_they_are_where_the_calls_are_inlined(weights: str) -> None:
    net = jax.tree.map(lambda leaf: leaf + 0.01 * jnp.arange(leaf.size).reshape(leaf.shape), Net(3))
    program, inlined = (
        to_onnx(net, [("T", DIM), INT], functions=chosen, weights=weights, opset=23) for chosen in ([Block], [])
    )

    def stored(program: OnnxProgram) -> dict[str, Any]:
        return {name: (tuple(one.shape or ()), one.metadata_props) for name, one in weights_of(program).items()}

    assert stored(program) == stored(inlined)
    (function,) = program.model.functions.values()
    assert "Slice" not in {node.op_type for node in function}


def test_blocks_that_differ_are_functions_of_their_own() -> None:
    """By a static field, by the shapes of weights, by the shapes of arguments."""

    def fn(x: jax.Array, y: jax.Array, length: jax.Array) -> Any:
        return [block(z, length) for z in (x, y) for block in blocks]

    keys = jax.random.split(jax.random.key(0), 3)
    blocks = [Block(keys[0], heads=2), Block(keys[1], heads=4), Block(keys[2], heads=2)]
    program = to_onnx(fn, [(3, DIM), (5, DIM), INT], functions=["Block"])
    assert functions(program) == {"Block": 2, "Block_2": 1, "Block_3": 2, "Block_4": 1}
    program.verify()


def test_tied_weights_are_stored_once() -> None:
    block = Block(jax.random.key(0))

    def fn(x: jax.Array, length: jax.Array) -> jax.Array:
        return block(block(x, length), length)

    program, inlined = (to_onnx(fn, [("T", DIM), INT], functions=chosen) for chosen in ([Block], []))
    assert functions(program) == {"Block": 2}
    assert len(program.model.graph.initializers) <= len(inlined.model.graph.initializers)
    program.verify()


@jax.jit
def layer(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.tanh(x @ w)


@j2o_core.function
def scaled(x: jax.Array, *, scale: float = 2.0) -> jax.Array:
    return layer(x * scale, jnp.eye(x.shape[-1]))


W, V = (jnp.asarray(np.random.default_rng(seed).normal(size=(4, 4)), jnp.float32) for seed in (0, 1))


def two(x: jax.Array) -> jax.Array:
    return layer(layer(x, W), V)


def looped(x: jax.Array) -> Any:
    return jax.lax.scan(lambda carry, w: (layer(carry, w), carry.sum()), x, jnp.stack([W, V, W]))


def branched(x: jax.Array) -> jax.Array:
    return jax.lax.cond(x.sum() > 0, lambda y: layer(y, W), lambda y: layer(y, V), x)


@functools.partial(jax.jit, static_argnames="count")
def inside(x: jax.Array, count: int) -> jax.Array:
    x = jax.lax.fori_loop(0, x.shape[0], lambda i, c: 0.5 * c + i, x)
    return jax.lax.cond(
        x.sum() > 0, lambda y: jnp.concatenate([y] * count), lambda y: jnp.zeros((count * y.shape[0], 4)), x
    )


@jax.jit
def noise(key: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.random.normal(key, z.shape) + jnp.abs(z), z * 1j


@jax.jit
def passing(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    return x, y, x, jnp.float32(3)


TABLE = jnp.asarray(np.random.default_rng(2).normal(size=(32, 32)), jnp.float32)


@jax.jit
def closing(x: jax.Array) -> jax.Array:
    return x @ TABLE + jnp.arange(32)


PROGRAMS: dict[str, tuple[Callable[..., Any], list[Any], dict[str, int]]] = {
    "jit": (two, [("B", 4)], {"layer": 2}),
    "vmap": (jax.vmap(two), [("B", 3, 4)], {"layer": 2}),
    "vmap over weights": (lambda x: jax.vmap(layer)(x, jnp.stack([W, V])), [(2, 3, 4)], {"layer": 1}),
    "grad": (jax.grad(lambda x: two(x).sum()), [("B", 4)], {"layer": 2, "layer_2": 2}),
    "jvp": (lambda x, t: jax.jvp(two, (x,), (t,)), [("B", 4), ("B", 4)], {"layer": 2}),
    "scan": (looped, [("B", 4)], {"layer": 1}),
    "cond": (branched, [("B", 4)], {"layer": 2}),
    "marked": (
        lambda x: scaled(scaled(x, scale=3.0)) + scaled(x),
        [("B", 4)],
        {"layer": 2, "scaled": 1, "scaled_2": 2},
    ),
    "weights as arguments": (lambda x, w: layer(layer(x, w), w), [("B", 4), (4, 4)], {"layer": 2}),
    "passing": (lambda x, y: passing(*passing(x, y)[:2]), [("B", 4), ("C", 4)], {"passing": 2}),
    "control flow inside": (lambda x: inside(inside(x, 2), 2), [("B", 4)], {"inside": 1, "inside_2": 1}),
    "keys and complex numbers": (
        lambda k, z: [noise(key, z) for key in jax.random.split(k)],
        [jax.random.key(0), jnp.ones(3) * 1j],
        {"noise": 2},
    ),
    "closing": (lambda x: closing(closing(x)), [("B", 32)], {"closing": 2}),
    "called once": (lambda x: layer(x, W), [("B", 4)], {"layer": 1}),
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs(name: str) -> None:
    fn, specs, wanted = PROGRAMS[name]
    opset, weights = [(18, "fold"), (21, "keep"), (23, "fold")][list(PROGRAMS).index(name) % 3]
    chosen = [one for one in (layer, inside, noise, passing, closing) if one.__name__ in wanted]
    program = to_onnx(fn, specs, functions=chosen, opset=opset, weights=weights, unroll=False)
    assert functions(program) == wanted
    program.check()
    program.verify(sizes=(2,))


def test_weights_are_replaced() -> None:
    net, other = Net(3), jax.tree.map(lambda leaf: leaf * 2, Net(3))
    program = to_onnx(net, [("T", DIM), INT], functions=[Block], weights="keep")
    again = to_onnx(other, [("T", DIM), INT], functions=[Block], weights="keep")
    x = np.random.default_rng(0).normal(size=(4, DIM)).astype(np.float32)
    np.testing.assert_array_equal(program.with_weights(other)(x, np.int32(2)), again(x, np.int32(2)))
    closing_kept = to_onnx(closing, [("B", 32)], functions=["closing"], weights="keep")
    assert [name for name in closing_kept.model.graph.initializers] == ["TABLE"]


def test_a_saved_program_runs(tmp_path: Path) -> None:
    program = to_onnx(Net(3), [("T", DIM), INT], functions=[Block])
    path = tmp_path / "net.onnx"
    program.save(path)
    x = np.random.default_rng(0).normal(size=(4, DIM)).astype(np.float32)
    loaded = OnnxProgram.load(path)
    np.testing.assert_array_equal(loaded(x, np.int32(2)), program(x, np.int32(2)))
    assert functions(loaded) == {"Block": 3}


def test_summary_sees_through_functions() -> None:
    program = to_onnx(Net(3), [("T", DIM), INT], functions=[Block])
    text = str(program)
    assert "Block: 3 calls of" in text
    assert "blocks.1" in text
    assert "\n           attention" not in text
    assert "Block: 3 calls of" in program.report()
    assert "Block: 3 calls of" in program.report(html=True)


def test_quantization_says_that_it_sees_no_functions() -> None:
    with pytest.raises(SpecError, match=r"The program has functions \(Block\)"):
        to_onnx(Net(2), [("T", DIM), INT], functions=[Block]).quantize()


@pytest.mark.parametrize("size", [3, "B"])
def test_a_fault_inside_a_function_is_located(size: int | str) -> None:
    plugin = j2o_core.Plugin("faulty")
    plugin.lowering(jax.lax.tanh_p, override=True)(lambda ctx, x, **_: ctx.op.Sin(x))
    plugins = [*j2o_core.Registry.installed().plugins, plugin]
    program = to_onnx(two, [(size, 4)], functions=["layer"], plugins=plugins)
    with pytest.raises(VerifyError, match=r"is tanh at .* in the call of layer at"):
        program.verify()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["Blok"], "functions has 'Blok', but Net has no call of it.\nIts calls are of the modules .*Block"),
        ([eqx.nn.Conv2d], "functions has Conv2d, but Net has no call of it"),
        ("Block", 'Expected a list, such as functions=\\["Block"\\]'),
        (Block, r"Expected a list, such as functions=\[Block\]"),
        ([np.tanh], "Expected a class of modules, a jitted function"),
        ([lambda x: x], "marked where it is defined: @j2o_core.function"),
    ],
)
def test_a_choice_that_cannot_be(chosen: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        to_onnx(Net(2), [("T", DIM), INT], functions=chosen)


def test_marked_functions_are_ordinary_outside_of_an_export() -> None:
    np.testing.assert_array_equal(scaled(W), scaled.__wrapped__(W))  # type: ignore[attr-defined]
    assert "j2o" not in str(jax.make_jaxpr(scaled)(W))


def test_calls_behind_a_checkpoint_are_functions_too() -> None:
    """JAX traces each of these anew."""
    program = to_onnx(jax.grad(lambda x: jax.checkpoint(two)(x).sum()), [("B", 4)], functions=["layer"])
    assert sum(functions(program).values()) == 4
    program.verify(sizes=(2,))


class Mixer(eqx.Module):
    """A block that reads its weights as a whole, transposed and cut, and may have another block inside."""

    wide: eqx.nn.Linear
    tied: jax.Array
    inner: Any
    parts: int = eqx.field(static=True)

    def __init__(self, key: jax.Array, parts: int, inner: Any):
        one, two = jax.random.split(key)
        self.wide = eqx.nn.Linear(DIM, parts * DIM, key=one)
        self.tied = jax.random.normal(two, (DIM, DIM)) / DIM
        self.inner, self.parts = inner, parts

    def __call__(self, x: jax.Array) -> jax.Array:
        y = sum(map(jnp.tanh, jnp.split(jax.vmap(self.wide)(x), self.parts, -1)))
        y = y @ self.tied + x @ self.tied.T
        return y if self.inner is None else self.inner(y) + x


@pytest.mark.parametrize("seed", range(int(os.environ.get("J2O_EXAMPLES", "4"))))
def test_random_nets_are_the_same_with_functions(seed: int) -> None:
    """Blocks that are shared, nested and of several kinds; state, keys, sizes that are known or symbolic."""
    rng = np.random.default_rng(seed)
    keys = iter(jax.random.split(jax.random.key(seed), 9))
    leaf = Mixer(next(keys), 1, None)
    kinds = [(int(rng.integers(1, 4)), rng.choice([None, "own", "shared"])) for _ in range(2)]
    blocks = []
    for _ in range(4):
        parts, inner = kinds[rng.integers(2)]
        blocks.append(
            Mixer(next(keys), parts, leaf if inner == "shared" else Mixer(next(keys), 1, None) if inner else None)
        )
    order = [blocks[i] for i in rng.integers(4, size=4)] + [leaf]

    def net(x: jax.Array, memory: jax.Array, key: jax.Array) -> Any:
        for block in order:
            x = block(x) / 2
        noise = jax.random.normal(key, x.shape[1:])
        return {"memory": memory + x.sum(0), "y": x + noise + memory}

    size = rng.choice(["T", 3])
    specs = {"x": (size if size == "T" else 3, DIM), "memory": (DIM,), "key": jax.random.key(0)}
    options: Any = {
        "state": ["memory"],
        "opset": int(rng.choice([18, 21, 23])),
        "weights": rng.choice(["fold", "keep"]),
    }
    program, inlined = (to_onnx(net, specs, functions=chosen, **options) for chosen in (["Mixer"], []))
    x, memory = rng.normal(size=(3, DIM)).astype(np.float32), rng.normal(size=DIM).astype(np.float32)
    same(program, inlined, x, memory, jax.random.key(seed))
    assert sum(functions(program).values()) > 1
    assert {key: one.shape for key, one in program.model.graph.initializers.items() if "tied" in key} == {
        key: one.shape for key, one in inlined.model.graph.initializers.items() if "tied" in key
    }


def test_a_runner_without_jax_runs_functions(tmp_path: Path) -> None:
    program = to_onnx(Net(3), [("T", DIM), INT], functions=[Block])
    program.save(tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(4, DIM)).astype(np.float32)
    np.testing.assert_array_equal(Runner(tmp_path / "net.onnx")(x, np.int32(2)), program(x, np.int32(2)))


def test_functions_are_exported_for_the_browser() -> None:
    program = to_onnx(Net(3), [("T", DIM), INT], functions=[Block], target="onnxruntime-web")
    assert functions(program) == {"Block": 3}
    program.verify(sizes=(4,))


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from j2o_core.cli.__main__ import main

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = str(tmp_path / "two.onnx")
    main(["export", "test_functions:two", "--input", "x=B,4", "--functions", "layer", "-o", path])
    assert "2 calls of 2 nodes" in capsys.readouterr().out
    main(["check", path])
