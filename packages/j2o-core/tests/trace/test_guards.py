"""Conditions under which tracing looks no further, or refuses what it was given."""

import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from j2o_core import SpecError, TraceError
from j2o_core.trace import _capture
from j2o_core.trace._constant_names import _holdings
from j2o_core.trace._functions import Functions
from j2o_core.trace._lazy import is_lazy
from j2o_core.trace._modules import _DEEPEST, ModulePaths, _pattern
from j2o_core.trace._spec_advice import _dtype
from j2o_core.trace._trace import _check_constants
from j2o_core.trace._trees import Array, Signature, TreeError, read

X = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_names": ["a\0"]}, "names in Unicode without null characters"),
        ({"constraints": 3}, "constraints is 3"),
        ({"constraints": [3]}, "The constraint 3 cannot be read: it is no comparison"),
        ({"constraints": ["N >= 5", "N <= 3"]}, "leave no size for N"),
        ({"constraints": ["N <= 3", "N >= 5"]}, "leave no size for N"),
        ({"state": 3}, "state is 3"),
        ({"functions": [lambda x: x]}, "Expected a class of modules, a jitted function"),
    ],
    ids=["null character", "number", "no text", "low", "high", "state", "function"],
)
def test_options_are_checked(export, options, message):
    with pytest.raises(SpecError, match=message):
        export(jnp.sin, [("N",)], **options)


@pytest.mark.parametrize("size", [2.0, True])
def test_a_size_is_an_integer(export, size):
    with pytest.raises(SpecError):
        export(jnp.sin, [jax.ShapeDtypeStruct((2.0,), np.float32) if size == 2 else (True, 3)])


def test_a_name_that_is_equal_to_a_size_may_be_in_a_constraint(export):
    program = export(lambda x, y: x + y, [("M",), ("N",)], constraints=["M == N"])
    np.testing.assert_array_equal(program(X, X), X + X)


class Model:
    def __init__(self, size):
        self.size = size

    def __call__(self, x):
        return x * self.size


def test_a_class_is_no_function_whatever_it_takes(export):
    with pytest.raises(TraceError, match="Model is a class: export an instance of it"):
        export(Model, [(2,), (3,)])


def test_an_error_may_have_no_line_of_the_user(export):
    with pytest.raises(TraceError, match="matmul"):
        export(jnp.matmul, [(2,), (3,)])


def test_a_deleted_array_is_no_constant(export):
    array = jnp.ones(3)
    array.delete()
    with pytest.raises(TraceError, match="deleted or donated"):
        _check_constants(jnp.sin, types.SimpleNamespace(consts=[array], eqns=[]), {})


def test_constants_of_what_lies_beside_an_equation_may_be_traced():
    def outer(t):
        beside = jax.make_jaxpr(lambda x: x + t)(1.0)
        whole = jax.make_jaxpr(lambda x: x * 2)(1.0)
        eqn = whole.jaxpr.eqns[0].replace(params={"derivative": beside})
        _check_constants(jnp.sin, whole.replace(jaxpr=whole.jaxpr.replace(eqns=[eqn])), {})
        return t

    jax.jit(outer)(1.0)


def test_functions_that_hold_each_other_are_looked_through_once():
    names = [f"f{number}" for number in range(9)]
    space = {}
    for name in names:
        exec(f"def {name}(): return {', '.join(names)}", space)
    assert list(_holdings(space["f0"], set())) == []


def test_functions_in_functions_are_looked_through_to_a_depth():
    deep = functools.reduce(lambda inner, _: lambda: inner(), range(2000), lambda: X)
    assert list(_holdings(deep, set())) == []


def test_modules_are_looked_through_once(export, monkeypatch):
    export(jnp.sin, [(3,)])
    _capture._divide({})
    monkeypatch.setattr(_capture, "_is_settled", None)
    _capture._divide({})
    monkeypatch.setattr(_capture, "_divide", None)
    _capture._find_places({})  # no function is new


@pytest.mark.parametrize(
    ("paths", "pattern"),
    [
        ([], None),
        (["a.0"], "a.0"),
        (["a.0", "a.1"], "a.*"),
        (["a.0", "a.0.b"], None),
        (["a.x", "a.y"], None),
    ],
)
def test_one_path_for_several(paths, pattern):
    assert _pattern(paths) == pattern


class Base:
    """A base class of modules."""


class Text(str):
    def __iter__(self):
        raise AssertionError


def test_modules_are_found_to_a_depth():
    inner, cyclic = Base(), Base()
    cyclic.itself, cyclic.text, cyclic.kind = cyclic, Text("ab"), Base
    deep = functools.reduce(lambda value, _: [value], range(2000), inner)
    paths = ModulePaths.__new__(ModulePaths)
    paths._bases, paths._plans, paths._instances = (Base,), [], {}
    paths._walk("cyclic", cyclic, 0)
    assert [path for path, _ in paths._instances.values()] == ["cyclic"]
    paths._walk("deep", deep, 0)
    assert len(paths._instances) == 1
    paths._walk("near", functools.reduce(lambda value, _: [value], range(_DEEPEST), inner), 0)
    assert len(paths._instances) == 2


def test_a_call_inside_of_the_same_call_is_no_function():
    functions, module = Functions(["Base"]), Base()
    assert functions.wants(module)
    functions._running.append(module)
    assert not functions.wants(module)


def test_a_module_that_is_no_pytree_is_no_function():
    with pytest.raises(SpecError, match="Model is no pytree"):
        Functions(["Model"]).call_module(None, Model.__call__, Model(3), (X,), {})


def test_a_name_is_no_call():
    (eqn,) = jax.make_jaxpr(lambda x: checkpoint_name(x, "activations"))(X).eqns
    assert Functions(["activations"]).callee(eqn) is None


def like_an_array(shape=(2,), dtype=np.float32, **more):
    kind = type("Leaf", (), {"shape": shape, "dtype": dtype, **more})
    return kind()


READ = {"__array__": lambda self: X}


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (like_an_array(**READ), True),
        (like_an_array([2], **READ), False),
        (like_an_array(dtype=None, **READ), False),
        (like_an_array(), False),
        (like_an_array(dtype=jax.random.key(0).dtype, **READ), False),
        (like_an_array(dtype="torch.float32", **READ), False),
        (jax.ShapeDtypeStruct((2,), np.float32), True),
        (X, False),
        (jnp.ones(3), False),
    ],
)
def test_weights_that_are_not_in_memory(leaf, expected):
    assert is_lazy(leaf) is expected


@pytest.mark.parametrize(
    ("value", "dtype"), [("float32", np.float32), (np.int8, np.int8), ("f", None), ("B", None), (None, None)]
)
def test_texts_that_name_a_dtype(value, dtype):
    """None is float64 for NumPy, and "f" and "B" are sizes."""
    found = _dtype(value)
    assert found is None if dtype is None else found == dtype


A, B = Array("a", "float32", (3,)), Array("b", "float32", (3,))
SIGNATURE = Signature("f", {"x": A}, ("x",), B, {"a": "b"})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"arguments": [["x", {"array": "a", "dtype": "float32", "shape": [3]}]] * 2},
        {"results": {"array": "a", "dtype": "float32", "shape": [3]}},
        {"state": [["a", "c"]]},
        {"positional": ["y"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_signatures_that_cannot_be_read(change):
    assert read(SIGNATURE.text()) == SIGNATURE
    if "arguments" in change:
        change = {"arguments": [["x", change["arguments"][0][1]], ["y", change["arguments"][0][1]]]}
    with pytest.raises(TreeError):
        read(json.dumps(json.loads(SIGNATURE.text()) | change))


@pytest.mark.parametrize(
    ("tree", "value"),
    [
        (A, None),
        (A, [1.0]),
        (A, "text"),
        (None, 3),
        ({"list": [A]}, "a"),
        ({"dict": [["k", A]]}, {"other": X}),
        ({"node": "Model", "fields": [["k", A]]}, Model(3)),
        ({"dict": [["k", {"fixed": 3}]]}, {"other": 3}),
    ],
    ids=["None", "list", "text", "number", "letters", "other key", "other field", "other setting"],
)
def test_arguments_of_another_structure(tree, value):
    with pytest.raises(TreeError):
        Signature("f", {"x": tree}, ("x",), B, {}).flatten([value], {})


def test_a_module_may_lack_what_holds_no_array():
    tree = {"node": "Model", "fields": [["size", A], ["name", {"fixed": "model"}]]}
    assert Signature("f", {"x": tree}, ("x",), B, {}).flatten([Model(X)], {}) == [X]
