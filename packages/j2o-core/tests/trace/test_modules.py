"""Paths of module instances, with a library of modules that is made up here."""

import functools
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import _compat
from j2o_core.graph._walk import all_graphs
from j2o_core.trace._modules import common_place

X = np.ones((2, 3), np.float32)


class Module:
    """A base class as libraries have it: a pytree of its attributes."""

    def __init_subclass__(cls):
        jax.tree_util.register_pytree_with_keys(
            cls,
            lambda self: ([(jax.tree_util.GetAttrKey(k), v) for k, v in vars(self).items()], tuple(vars(self))),
            lambda names, values: cls.made(names, values),
        )

    @classmethod
    def made(cls, names, values):
        self = object.__new__(cls)
        vars(self).update(zip(names, values, strict=True))
        return self


class Scale(Module):
    def __init__(self, factor):
        self.factor = jnp.full(3, factor)

    def __call__(self, x):
        return jnp.sin(x) * self.factor


class Block(Module):
    def __init__(self, factor):
        self.scale = Scale(factor)

    def __call__(self, x):
        return x + self.scale(x)


class Model(Module):
    def __init__(self):
        self.blocks = [Block(2.0), Block(3.0)]

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return jnp.exp(x)


class Checked(Scale):
    """Calls its base class's."""

    def __call__(self, x):
        return super().__call__(x) + 1


@pytest.fixture
def named(plugin, export, monkeypatch):
    library = types.ModuleType("modulelib")
    library.Module = Module
    monkeypatch.setitem(sys.modules, "modulelib", library)
    plugin.module_class("modulelib.Module", own_scopes=("lib.",))

    def run(fn, inputs, **options):
        program = export(fn, inputs, **options)
        nodes = [node for graph in all_graphs(program.model.graph) for node in graph]
        return [(node.op_type, node.metadata_props.get("j2o.module")) for node in nodes]

    return run


PATHS = [
    ("Sin", "blocks.0.scale"),
    ("Mul", "blocks.0.scale"),
    ("Add", "blocks.0"),
    ("Sin", "blocks.1.scale"),
    ("Mul", "blocks.1.scale"),
    ("Add", "blocks.1"),
    ("Exp", "Model"),
]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint, lambda f: functools.partial(f)])
def test_every_node_has_the_path_of_the_module_that_was_called(named, wrap):
    assert named(wrap(Model()), [(2, 3)]) == PATHS
    model = Model()
    assert named(wrap(lambda x: model(x)), [(2, 3)]) == PATHS


def test_a_model_among_the_arguments_has_its_name_in_front(named):
    nodes = named(lambda model, x: model(x), [Model(), (2, 3)])
    expected = [(op, f"model.{path}" if path != "Model" else "model") for op, path in PATHS]
    assert [pair for pair in nodes if pair[0] != "Reshape"] == expected


def test_a_block_that_is_traced_once_and_called_twice_has_both_paths(named):
    """`jax.jit` unflattens the module: only its class says which one of several it is."""

    class Compiled(Model):
        def __call__(self, x):
            call = jax.jit(lambda block, x: block(x))
            for block in self.blocks:
                x = call(block, x)
            return x

    paths = {path for _, path in named(Compiled(), [(2, 3)])}
    assert paths == {"blocks.*.scale", "blocks.*"} or paths == {"blocks.0.scale", "blocks.1.scale", "blocks.*"}


def test_a_module_in_a_branch(named):
    model = Model()
    nodes = named(lambda x, flag: jax.lax.cond(flag, model, jnp.sin, x), [(2, 3), np.asarray(True)])
    assert [pair for pair in nodes if pair[0] in ("Sin", "Mul", "Add", "Exp")][:7] == [*PATHS[:-1], ("Exp", "Model")]


def test_users_scopes_are_part_of_the_place_and_those_of_libraries_are_not(named):
    scale = Scale(2.0)

    def fn(x):
        with jax.named_scope("encoder"), jax.named_scope("lib.Linear"):
            x = jnp.cos(x)
        return scale(x)

    assert named(fn, [(2, 3)]) == [("Cos", "encoder"), ("Sin", "Scale"), ("Mul", "Scale")]


def test_a_derived_class_calls_its_base(named):
    assert named([Checked(2.0)][0], [(2, 3)]) == [("Sin", "Checked"), ("Mul", "Checked"), ("Add", "Checked")]


def test_classes_are_as_they_were_and_other_threads_see_no_difference(named):
    before = [vars(cls)["__call__"] for cls in (Scale, Block, Model)]
    seen = []

    class Watching(Model):
        def __call__(self, x):
            thread = threading.Thread(target=lambda: seen.append(np.asarray(Scale(2.0)(jnp.zeros(3)))))
            thread.start()
            thread.join()
            return super().__call__(x)

    assert [path for _, path in named(Watching(), [(2, 3)])][:3] == ["blocks.0.scale", "blocks.0.scale", "blocks.0"]
    np.testing.assert_array_equal(seen, [np.zeros(3)])
    assert [vars(cls)["__call__"] for cls in (Scale, Block, Model)] == before


def test_a_function_that_raises_leaves_classes_as_they_were(named):
    class Broken(Model):
        def __call__(self, x):
            raise KeyError("no")

    before = vars(Broken)["__call__"]
    with pytest.raises(Exception, match="no"):
        named(Broken(), [(2, 3)])
    assert vars(Broken)["__call__"] is before


@pytest.mark.parametrize(
    ("places", "common"),
    [
        ([], None),
        (["blocks.0.attn", "blocks.0.attn.qkv"], "blocks.0.attn"),
        (["blocks.0.attn", "blocks.0.mlp"], "blocks.0"),
        (["norm", "blocks.0"], "norm"),
        (["blocks.0/rope", "blocks.0"], "blocks.0"),
        (["blocks.1", "blocks.10"], "blocks"),
    ],
)
def test_what_places_have_in_common(places, common):
    assert common_place(places) == common


def lines(program):
    return [node.metadata_props.get("j2o.source") for node in program.model.graph]


def test_lines_of_source_have_no_folders_of_this_machine(export):
    def fn(x):
        return jnp.sin(x)

    (line,) = lines(export(fn, [(3,)]))
    assert line.startswith("test_modules.py:")
    assert line.endswith(" in " + fn.__qualname__)
    (line,) = lines(export(fn, [(3,)], metadata="full"))
    assert line.startswith(f"{__file__}:")
    (node,) = export(fn, [(3,)], metadata="none").model.graph
    assert not node.metadata_props


def test_unknown_levels_of_metadata(export):
    from j2o_core import SpecError

    with pytest.raises(SpecError, match=r"metadata is 'all'. Expected \"relative\""):
        export(jnp.sin, [(3,)], metadata="all")


def test_no_text_of_a_module_is_made_to_find_its_line_and_jax_is_as_before(named):
    class Loud(Scale):
        texts = 0

        def __repr__(self):
            Loud.texts += 1
            return "Loud"

    class Wrapper(Loud):
        @property
        def __wrapped__(self):
            return wrapped

    def wrapped(x):
        return x

    owner, name = _compat.SOURCE_TEXT
    before = getattr(owner, name)
    seen = []

    def fn(x):
        seen.extend(getattr(owner, name)(one) for one in (loud, Wrapper(1.0), wrapped))
        return jax.vmap(loud)(x)

    loud = Loud(2.0)
    assert [op_type for op_type, _ in named(fn, [(2, 3)])] == ["Sin", "Mul"]
    assert Loud.texts == 0
    assert getattr(owner, name) is before
    assert seen == [before(loud), before(wrapped), before(wrapped)]
    assert Loud.texts == 1
