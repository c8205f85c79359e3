"""Rules of a composite: batching binds it again, gradients are the body's."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_autodiff
from j2o_core import Plugin, to_onnx
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


def test_no_gradient_by_design():
    module = types.ModuleType("choices")
    module.choose = lambda x: jnp.sin(x)
    sys.modules["choices"] = module
    plugin = Plugin("choices")
    plugin.composite("choices.choose", differentiable=False)
    try:
        with pytest.raises(Exception, match=r"choices\.choose has no gradient by design"):
            to_onnx(jax.grad(lambda x: module.choose(x)), [()], plugins=[j2o_autodiff.plugin, lowered, plugin])
    finally:
        del sys.modules["choices"]
