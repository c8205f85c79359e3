"""Rules of a composite: batching binds it again, gradients are the body's."""

import runpy
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_autodiff
from j2o_core import Plugin, Registry, UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

lowered = Plugin("fake")
for name, op_type in {"add": "Add", "mul": "Mul", "sin": "Sin", "cos": "Cos", "neg": "Neg", "add_any": "Add"}.items():
    lowered.lowering(name)(lambda ctx, *operands, op_type=op_type, **_: ctx.op(op_type, *operands))


@lowered.lowering("broadcast_in_dim")
def _broadcast(ctx, x, *, shape, broadcast_dimensions, **_):
    placed = [1] * len(shape)
    for axis, dimension in enumerate(broadcast_dimensions):
        placed[dimension] = ctx.avals_in[0].shape[axis]
    return ctx.expand(ctx.reshape(x, placed), shape)


signs = Plugin("signs")
signs.lowering("sign")(lambda ctx, x: ctx.op.Sign(x))
signs.lowering("argmax")(lambda ctx, x, **_: ctx.cast(ctx.op.ArgMax(x, axis=0, keepdims=0), np.int32))


@lowered.lowering("transpose")
def _transpose(ctx, x, *, permutation, **_):
    return ctx.op.Transpose(x, perm=permutation)


def wave(x, y, *, factor=2.0):
    """A function with two operands and a setting."""
    return jnp.sin(x) * y * factor


@pytest.fixture(params=["bind", "body"])
def module(request):
    """A module with a composite, its plugin, and what its rule was told."""
    module = types.ModuleType("waves")
    module.wave = wave
    sys.modules["waves"] = module
    plugin = Plugin("waves")
    composite = plugin.composite("waves.wave", batching=request.param)
    seen = []

    @plugin.lowering(composite)
    def _wave(ctx, x, y, *, factor):
        seen.append((ctx.batch_ndim, ctx.batched, factor))
        return ctx.op.Mul(ctx.op.Mul(ctx.op.Sin(x), y), ctx.const(factor, x))

    yield module, [j2o_autodiff.plugin, lowered, plugin], seen, request.param
    del sys.modules["waves"]


def test_the_rule_gets_arguments_and_settings(module):
    waves, plugins, seen, _ = module
    check(lambda x, y: waves.wave(x, y, factor=3.0), Spec((4,)), Spec((4,)), plugins=plugins, opsets=(21,))
    assert seen == [(0, (False, False), 3.0)]


def test_outside_an_export_it_is_the_function_itself(module):
    waves, plugins, _, _ = module
    to_onnx(lambda x: waves.wave(x, x), [(4,)], plugins=plugins)
    assert waves.wave is wave


@pytest.mark.parametrize(
    ("in_axes", "shapes", "batched"),
    [
        ((0, 0), [(3, 4), (3, 4)], (True, True)),
        ((0, None), [(3, 4), (4,)], (True, False)),
        ((1, 0), [(4, 3), (3, 4)], (True, True)),
    ],
)
def test_vmap(module, in_axes, shapes, batched):
    waves, plugins, seen, batching = module
    mapped = jax.vmap(lambda x, y: waves.wave(x, y), in_axes)
    check(mapped, *map(Spec, shapes), plugins=plugins, opsets=(21,))
    assert seen == ([(1, batched, 2.0)] if batching == "bind" else [])


@pytest.mark.parametrize("inner", [(0, 0), (None, 0), (0, None)])
@pytest.mark.parametrize("outer", [(0, 0), (None, 0), (0, None), (1, 0)])
def test_vmap_of_vmap(module, inner, outer):
    waves, plugins, seen, batching = module
    shapes = []
    for inner_axis, outer_axis in zip(inner, outer, strict=True):
        shape = [] if inner_axis is None else [3]
        if outer_axis is not None:
            shape.insert(min(outer_axis, len(shape)), 2)
        shapes.append(tuple([*shape, 4]) if outer_axis != 1 or shape != [2] else (4, 2))
    mapped = jax.vmap(jax.vmap(lambda x, y: waves.wave(x, y), inner), outer)
    check(mapped, *map(Spec, shapes), plugins=plugins, opsets=(21,))
    assert [ndim for ndim, _, _ in seen] == ([2] if batching == "bind" else [])


def test_gradients_are_those_of_the_body(module):
    waves, plugins, _, _ = module
    x, y = np.linspace(-1, 1, 4, dtype=np.float32), np.linspace(1, 2, 4, dtype=np.float32)
    program = to_onnx(lambda x, y: jax.vmap(jax.grad(lambda a, b: waves.wave(a, b)))(x, y), [x, y], plugins=plugins)
    np.testing.assert_allclose(program(x, y), np.cos(x) * y * 2, rtol=1e-6)


def test_the_primal_of_a_jvp_keeps_the_composite(module):
    waves, plugins, seen, _ = module
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    program = to_onnx(lambda x: jax.jvp(lambda a: waves.wave(a, a), (x,), (x,)), [x], plugins=plugins)
    primal, tangent = program(x)
    expected = jax.jvp(lambda a: wave(a, a), (x,), (x,))
    np.testing.assert_allclose(primal, expected[0], rtol=1e-6)
    np.testing.assert_allclose(tangent, expected[1], rtol=1e-6)
    assert len(seen) == 1


@pytest.fixture
def choices():
    """A module with a composite that has no gradient by design, and the plugins for it."""
    module = types.ModuleType("choices")
    module.choose = lambda x: {"picked": jnp.sin(x), "largest": jnp.argmax(x), "sign": jnp.sign(x)}
    sys.modules["choices"] = module
    plugin = Plugin("choices")
    plugin.composite("choices.choose", differentiable=False)
    yield module, [j2o_autodiff.plugin, lowered, plugin]
    del sys.modules["choices"]


@pytest.mark.parametrize("transform", [jax.grad, jax.value_and_grad, jax.hessian, jax.jacfwd])
def test_no_gradient_by_design(choices, transform):
    module, plugins = choices
    with pytest.raises(UnsupportedError, match=r"choices\.choose has no gradient by design"):
        to_onnx(transform(lambda x: module.choose(x)["picked"].sum()), [(3,)], plugins=plugins)


def test_zero_gradients_stay_zero_without_a_gradient_by_design(choices):
    """Where JAX's tangent is zero by construction, and where nothing that is differentiated goes in."""
    module, plugins = choices
    x = np.array([0.5, 2.0, -1.0], np.float32)
    module.choose = lambda x: [jnp.sign(x), jnp.argmax(x)]

    def sloped(x):
        return x * module.choose(x)[0] * module.choose(jax.lax.stop_gradient(x))[0]

    program = to_onnx(lambda x, t: jax.jvp(sloped, (x,), (t,))[1], [x, x], plugins=[*plugins, signs])
    np.testing.assert_array_equal(program(x, x), jax.jvp(sloped, (x,), (x,))[1])


def test_only_what_moves_is_differentiated(module):
    """The tangent of a constant operand costs nothing: no product with zeros."""
    waves, plugins, _, _ = module
    program = to_onnx(lambda x, y, t: jax.jvp(lambda a: waves.wave(x, a), (y,), (t,))[1], [(4,)] * 3, plugins=plugins)
    assert sorted(node.op_type for node in program.model.graph) == ["Mul", "Mul", "Sin"]


def test_every_composite_has_a_row(module, choices):
    plugins = [*module[1], choices[1][-1]]
    wave, choose = j2o_autodiff.coverage(Registry(plugins))
    assert wave.composite == "waves.wave"
    assert wave.differentiable == "yes"
    assert wave.batching == ("B: bound again" if module[3] == "bind" else "A: body mapped")
    assert (choose.plugin, choose.transpose) == ("choices", "none needed")
    assert choose.differentiable.startswith("no, by design")
    assert "| `choices.choose` | choices | B: bound again |" in j2o_autodiff.markdown([wave, choose])


def test_rules_come_from_the_installed_package_if_no_plugin_asked_for_has_them():
    plugin = Plugin("other")
    composite = plugin.composite("other.function")
    assert Registry([plugin]).composites == [composite]
    assert composite.transforms_ready


def test_the_module_prints_the_tables(capsys, monkeypatch):
    plugin = Plugin("other")
    plugin.composite("other.function")
    plugin.lowering("sin")(lambda ctx, x, *, accuracy: ctx.op.Sin(x))
    monkeypatch.setattr(Registry, "installed", lambda: Registry([plugin]))
    runpy.run_module("j2o_autodiff", run_name="__main__")
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| composite", "| primitive"))]
    assert titles == [
        "| composite | plugin | batching | jvp | transpose | differentiable |",
        "| primitive | lowering | vmap | jvp | grad |",
    ]
