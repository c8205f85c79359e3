"""Inputs, outputs, their names, and the errors for those that cannot be."""

import dataclasses
import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core.testing import Spec, check


class Point(NamedTuple):
    x: object
    y: object


@functools.partial(jax.tree_util.register_dataclass, data_fields=["left", "right"], meta_fields=["note"])
@dataclasses.dataclass
class Pair:
    left: object
    right: object
    note: str = "kept"


def test_inputs_and_outputs_are_any_pytree() -> None:
    """Dictionaries, lists, tuples, named tuples, data classes and modules, nested; None is nothing."""

    def fn(tree: dict[str, object], pair: Pair) -> object:
        first, (second, third) = tree["a"], tree["b"]
        return {"sum": [first + second, None], "point": Point(third * 2, Pair(pair.left, pair.right.x + first))}

    spec = {"a": (3,), "b": [(3,), (2, 2)]}, Pair((), Point((3,), ()), "kept")
    program = j2o_core.to_onnx(fn, spec)
    program.verify()
    assert program.input_names == ["tree.a", "tree.b.0", "tree.b.1", "pair.left", "pair.right.x", "pair.right.y"]
    assert len(set(program.output_names)) == 4
    ones = jax.tree.map(
        lambda s: np.ones(s, np.float32),
        spec,
        is_leaf=lambda s: (
            (isinstance(s, tuple) and not s) or (isinstance(s, tuple) and all(isinstance(d, int) for d in s))
        ),
    )
    result = program(*ones)
    assert jax.tree.structure(result) == jax.tree.structure(jax.eval_shape(fn, *ones))
    assert result["point"].y.note == "kept"


def test_names_are_chosen_and_never_double() -> None:
    """As asked, or from the arguments and the tree; two places with one name get two names."""
    fn = lambda x, y: {"x": x + y, "y": (x, y)}  # noqa: E731
    program = j2o_core.to_onnx(fn, [(3,), (3,)], input_names=["image", "mask"], output_names=["a", "b", "c"])
    assert (program.input_names, program.output_names) == (["image", "mask"], ["a", "b", "c"])
    derived = j2o_core.to_onnx(fn, [(3,), (3,)])
    names = [value.name for node in derived.model.graph for value in node.outputs] + derived.input_names
    assert len(names) == len(set(names))
    assert not set(derived.input_names) & set(derived.output_names)
    clash = j2o_core.to_onnx(lambda t: t["a.b"] + t["a"]["b"], [{"a.b": (3,), "a": {"b": (3,)}}])
    assert len(set(clash.input_names)) == 2
    for options in ({"input_names": ["a", "a"]}, {"output_names": ["a"]}, {"input_names": ["a", ""]}):
        with pytest.raises(j2o_core.SpecError):
            j2o_core.to_onnx(fn, [(3,), (3,)], **options)


def test_outputs_may_be_inputs_constants_or_given_twice() -> None:
    """Also all at once, and an input that nobody reads stays an input."""

    def fn(x: jax.Array, unused: jax.Array) -> object:
        y = jnp.sin(x)
        return x, x, y, y, jnp.arange(3.0), 7, np.float32(2), [x, y]

    program = check(fn, ("B", 3), (2,), opsets=(18, 26))
    assert len(program.input_names) == 2
    assert len(set(program.output_names)) == 9


class Block(eqx.Module):
    qkv: eqx.nn.Linear
    scale: jax.Array


class Model(eqx.Module):
    blocks: list[Block]
    embedding: jax.Array
    tied: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x @ self.embedding
        for block in self.blocks:
            x = jnp.tanh(block.qkv(x)) * block.scale
        return x @ self.tied.T


def model() -> Model:
    keys = jax.random.split(jax.random.key(0), 4)
    table = jax.random.normal(keys[0], (11, 8))
    blocks = [Block(eqx.nn.Linear(8, 8, key=key), jnp.linspace(0.5, 1, 8) + i) for i, key in enumerate(keys[1:])]
    return Model(blocks, table, table)


def test_weights_carry_their_path_and_tied_ones_are_stored_once() -> None:
    """`blocks.2.qkv.weight`, whatever wraps the module."""
    for fn in (jax.vmap(model()), jax.jit(jax.vmap(model())), functools.partial(jax.vmap(model()))):
        program = j2o_core.to_onnx(fn, [("B", 11)])
        program.verify()
        names = set(program.model.graph.initializers)
        assert {f"blocks.{i}.qkv.{part}" for i in range(3) for part in ("weight", "bias")} <= names
        assert {f"blocks.{i}.scale" for i in range(3)} <= names
    table = jnp.linspace(0.0, 1.0, 33).reshape(11, 3)
    program = j2o_core.to_onnx(Tied([table, table]), [("B", 11)])
    program.verify()
    assert [v.name for v in program.model.graph.initializers.values() if v.const_value.size == 33] == ["tables.0"]


class Tied(eqx.Module):
    tables: list[jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.tables[0] + jnp.sin(x) @ self.tables[1]


def test_a_weight_that_is_also_used_transposed_is_stored_once() -> None:
    """An embedding that is the last layer as well."""
    program = j2o_core.to_onnx(jax.vmap(model()), [("B", 11)])
    assert len([v for v in program.model.graph.initializers.values() if v.const_value.size == 88]) == 1


def test_symbolic_sizes() -> None:
    """Arithmetic, constraints, several in one input; equal names are equal sizes."""
    check(lambda x, y: jnp.concatenate([x, y], 0), ("2*T", 3), ("T", 3), opsets=(21,))
    check(
        lambda x: x[: x.shape[0] // 2].sum(0) / x.shape[0],
        ("T", 3),
        constraints=["T >= 2"],
        sizes=(2, 3, 6),
        opsets=(21,),
    )
    check(lambda x, y: x.reshape(x.shape[0] * x.shape[1], 2) + y, ("H", "W", 2), ("H*W", 2), opsets=(21,))
    check(lambda x: x.reshape(x.shape[0] // 2, 2, 3).mean(1), ("2*T", 3), opsets=(21,))
    check(lambda x, y: x @ y, ("A", "B"), ("B", "C"), opsets=(21,))
    program = j2o_core.to_onnx(lambda x, y: x + y, [("N", 3), ("N", 3)])
    with pytest.raises(Exception, match=r"N|size|shape|dimension"):
        program(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32))
    with pytest.raises(j2o_core.SpecError):
        j2o_core.to_onnx(lambda x: x, [("N +", 3)])


def test_size_one_is_not_special_and_nothing_is_a_size() -> None:
    """A symbolic axis of one row, arrays of one element, and arrays of none."""
    fn = lambda x: (x - x.mean(0), jax.nn.softmax(x), x @ x.T, jnp.sort(x, 0), x.sum(), jnp.cumsum(x, 0))  # noqa: E731
    check(fn, ("N", 3), sizes=(1, 2, 7), opsets=(21,))
    check(fn, (1, 1), opsets=(21,))
    no_mean = lambda x: (x * 2, x @ x.T, x.T @ x, x.sum(0), jnp.concatenate([x, x]), jnp.sort(x, 0), x[:, :1])  # noqa: E731
    check(no_mean, (0, 3), opsets=(18, 26))
    check(no_mean, (3, 0), opsets=(21,))
    check(no_mean, ("N", 3), args=(np.zeros((0, 3), np.float32),), opsets=(21,))


@pytest.mark.parametrize("opset", [0, 17, 27, 99, "21", 21.0, True, None])
def test_an_opset_out_of_range_says_the_range(opset: object) -> None:
    """Too low, too high, or no number."""
    with pytest.raises(j2o_core.SpecError, match=r"18 to 26"):
        j2o_core.to_onnx(jnp.sin, [(3,)], opset=opset)


def test_all_missing_primitives_are_reported_at_once() -> None:
    """With the user's file and line, how often, and what would help."""

    def fn(x: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        for _ in range(2):
            x = jax.pure_callback(lambda v: v, shape, x)
        return jax.lax.linalg.eig(x)[0].real + x[0] if False else jax.lax.reduce_precision(x, 5, 7) + ordered(x)

    def ordered(x: jax.Array) -> jax.Array:
        from jax.experimental import io_callback

        return io_callback(lambda v: v, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(j2o_core.UnsupportedError) as failure:
        j2o_core.to_onnx(fn, [(3, 3)])
    text = str(failure.value)
    assert "pure_callback" in text
    assert "io_callback" in text
    assert "2 equations" in text
    assert text.count("test_interface.py:") == 2
    assert "write their code with jax.numpy" in text


class Callables:
    def method(self, x: jax.Array) -> jax.Array:
        return jnp.sin(x)


def named(x: jax.Array) -> jax.Array:
    return jnp.sin(x)


@pytest.mark.parametrize(
    "fn",
    [
        named,
        lambda x: jnp.sin(x),
        functools.partial(lambda a, x: jnp.sin(x) * a, 1.0),
        functools.partial(lambda x, *, a: jnp.sin(x) * a, a=1.0),
        Callables().method,
        eqx.nn.Lambda(jnp.sin),
        jax.jit(jnp.sin),
        jax.vmap(jnp.sin),
        eqx.filter_jit(named),
        jax.checkpoint(named),
        jnp.sin,
    ],
    ids=["function", "lambda", "partial", "keyword", "method", "module", "jit", "vmap", "filter_jit", "remat", "ufunc"],
)
def test_anything_that_can_be_called_is_exported(fn: object) -> None:
    """A function, lambda, partial, bound method, module, jitted or mapped function: the same numbers."""
    program = check(fn, Spec((3,)), opsets=(21,))
    assert program.model.graph.node(0).op_type == "Sin"
