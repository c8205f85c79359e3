"""`derive`: a stranger's primitive gets JVP, transpose and batching from a reference, and keeps the rules it has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

import j2o_autodiff
from j2o_autodiff import derive
from j2o_core import Plugin, PluginError, Registry, UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

from .test_rules import lowered


def kernel(reference, multiple_results=False, results=None):
    """A primitive as a library has it, with a computation of its own and no rules for transforms."""
    primitive = Primitive("kernel")
    primitive.multiple_results = multiple_results

    def results_of(*avals, **params):
        found = jax.eval_shape(functools.partial(results or reference, **params), *avals)
        typed = [jax.core.ShapedArray(one.shape, one.dtype) for one in jax.tree.leaves(found)]
        return typed if multiple_results else typed[0]

    primitive.def_abstract_eval(results_of)
    primitive.def_impl(jax.jit(reference))
    mlir.register_lowering(primitive, mlir.lower_fun(reference, multiple_results=multiple_results))
    return primitive


def wave(x, y, *, factor=2.0):
    return jnp.sin(x) * y * factor


@pytest.fixture(params=["bind", "body"])
def waves(request):
    """A primitive with its plugins; `seen` has the shapes its rule was given."""
    primitive, seen = kernel(wave), []
    derive(primitive, wave, batching=request.param)
    plugin = Plugin("waves")

    @plugin.lowering(primitive)
    def _wave(ctx, x, y, *, factor):
        seen.append(ctx.avals_in[0].shape)
        return ctx.op.Mul(ctx.op.Mul(ctx.op.Sin(x), y), ctx.const(factor, x))

    def call(x, y):
        return primitive.bind(x, y, factor=3.0)

    return call, [j2o_autodiff.plugin, lowered, plugin], seen, request.param


XY = (Spec((3,), jnp.float32), Spec((3,), jnp.float32))


def gradient(fn):
    return jax.grad(lambda x, y: (fn(x, y) * jnp.array([1.0, 2.0, 3.0], x.dtype)).sum())


def summed(fn):
    def along(x, y):
        _, tangent = jax.jvp(fn, (x, y), (y, x))
        return tangent

    return along


def test_plain(waves):
    call, plugins, seen, _ = waves
    check(call, *XY, plugins=plugins)
    assert seen


@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 1), (1, 0)])
def test_vmap(waves, in_axes):
    call, plugins, seen, how = waves
    shapes = [(3,) if axis is None else (4, 3) if axis == 0 else (3, 4) for axis in in_axes]
    check(jax.vmap(call, in_axes), *(Spec(shape, jnp.float32) for shape in shapes), plugins=plugins)
    assert set(seen) == ({(4, 3)} if how == "bind" else set())


def test_vmap_of_vmap_with_symbolic_sizes(waves):
    call, plugins, seen, how = waves
    twice = jax.vmap(jax.vmap(call), (0, None))
    check(twice, Spec(("B", 4, "N"), jnp.float32), Spec((4, "N"), jnp.float32), plugins=plugins)
    assert bool(seen) == (how == "bind")


def test_the_primal_of_a_jvp_is_the_primitive(waves):
    call, plugins, seen, _ = waves
    check(lambda x, y: jax.jvp(call, (x, y), (y, x)), *XY, plugins=plugins, rtol=1e-5)
    assert seen


@pytest.mark.parametrize("name", ["jvp", "jvp of jvp", "vmap of jvp", "jvp of vmap"])
def test_tangents_are_the_references(waves, name):
    call, plugins, _, _ = waves
    transforms = {
        "jvp": summed,
        "jvp of jvp": lambda fn: summed(summed(fn)),
        "vmap of jvp": lambda fn: jax.vmap(summed(fn)),
        "jvp of vmap": lambda fn: summed(jax.vmap(fn)),
    }
    got, wanted = (transforms[name](fn) for fn in (call, functools.partial(wave, factor=3.0)))
    shape = (2, 3) if "vmap" in name else (3,)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    np.testing.assert_allclose(got(*x), wanted(*x), rtol=1e-5)
    check(got, *[Spec(shape, jnp.float32)] * 2, plugins=plugins, rtol=1e-5)


@pytest.mark.parametrize("name", ["grad", "vmap of grad", "grad of grad", "hessian", "jacrev"])
def test_gradients_are_the_references(waves, name):
    call, _, _, _ = waves
    second = lambda fn: gradient(lambda x, y: gradient(fn)(x, y) * y)  # noqa: E731
    transforms = {
        "grad": gradient,
        "vmap of grad": lambda fn: jax.vmap(gradient(fn)),
        "grad of grad": second,
        "hessian": lambda fn: jax.hessian(lambda x, y: fn(x, y).sum()),
        "jacrev": lambda fn: jax.jacrev(fn, argnums=(0, 1)),
    }
    got, wanted = (transforms[name](fn) for fn in (call, functools.partial(wave, factor=3.0)))
    x = np.random.default_rng(0).normal(size=(2, 2, 3) if "vmap" in name else (2, 3)).astype(np.float32)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got(*x), wanted(*x))


def halves(x):
    return x[: x.shape[0] // 2] * 2.0, jnp.cumsum(x)


def test_multiple_results_and_an_unused_one():
    primitive = kernel(halves, multiple_results=True)
    derive(primitive, halves)
    x = np.arange(4, dtype=np.float32)
    for transform in (
        lambda fn: jax.jacfwd(lambda x: fn(x)[0]),
        lambda fn: jax.jacrev(lambda x: fn(x)[1]),
        lambda fn: lambda x: jax.vmap(fn)(jnp.stack([x, 2 * x])),
        lambda fn: lambda x: jax.jvp(fn, (x,), (x,)),
    ):
        got, wanted = transform(lambda x: tuple(primitive.bind(x)))(x), transform(halves)(x)
        jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_a_linear_primitive_is_transposed():
    def total(x, y):
        return jnp.cumsum(x) * y

    primitive = kernel(total)
    derive(primitive, total)
    y = np.array([2.0, 3.0, 5.0], np.float32)
    (got,) = jax.linear_transpose(lambda x: primitive.bind(x, y), y)(np.ones(3, np.float32))
    np.testing.assert_array_equal(got, [10, 8, 5])
    derived = jax.make_jaxpr(lambda x: jax.vjp(lambda x: primitive.bind(x, y), x)[1](x))(y)
    assert "kernel" not in {eqn.primitive.name for eqn in derived.jaxpr.eqns if eqn.outvars[0] in derived.jaxpr.outvars}


def steps(x, *, scale=1.0):
    return jnp.sign(x) + scale * jnp.argmax(x)


def test_without_a_gradient_zero_or_refused():
    primitive = kernel(steps)
    derive(primitive, steps, differentiable=False)
    zeros = jax.jit(jax.grad(lambda x: primitive.bind(x).sum()))(jnp.ones(3))
    np.testing.assert_array_equal(zeros, np.zeros(3))
    smooth = kernel(jnp.sin)
    derive(smooth, jnp.sin, differentiable=False)
    with pytest.raises(UnsupportedError, match=r"kernel has no gradient by design(.|\n)*stop_gradient"):
        jax.grad(lambda x: smooth.bind(x).sum())(jnp.ones(3))
    stopped = jax.grad(lambda x: (smooth.bind(lax.stop_gradient(x)) * x).sum())(jnp.ones(3))
    np.testing.assert_allclose(stopped, np.sin(np.ones(3)), rtol=1e-6)


def test_integer_operands_have_no_tangent():
    def taken(x, index):
        return x[index] * 2.0

    primitive = kernel(taken)
    derive(primitive, taken)
    x, index = jnp.arange(3.0), jnp.array([2, 0])
    got = jax.grad(lambda x: primitive.bind(x, index).sum())(x)
    np.testing.assert_array_equal(got, [2, 0, 2])
    both = jax.vmap(lambda x, i: primitive.bind(x, i), (None, 0))(x, index[:, None])
    np.testing.assert_array_equal(both, [[4], [0]])


def test_rules_that_are_there_stay():
    primitive = kernel(jnp.sin)
    ad.primitive_jvps[primitive] = lambda primals, tangents: (primitive.bind(*primals), 7 * tangents[0])
    derive(primitive, jnp.sin, batching="bind")
    assert jax.jvp(primitive.bind, (jnp.float32(1),), (jnp.float32(1),))[1] == 7
    assert jax.vmap(primitive.bind)(jnp.ones(2)).shape == (2,)
    vectorized = kernel(jnp.sin)
    batching.defvectorized(vectorized)
    derive(vectorized, jnp.sin, differentiable=False)
    assert "kernel" in str(jax.make_jaxpr(jax.vmap(vectorized.bind))(jnp.ones(2)))


def test_deriving_again_takes_the_place_of_what_was_derived():
    primitive = kernel(jnp.sin)
    derive(primitive, jnp.sin, differentiable=False)
    derive(primitive, jnp.sin)
    np.testing.assert_allclose(jax.grad(primitive.bind)(1.0), np.cos(1.0), rtol=1e-6)


@pytest.mark.parametrize("call", [jax.vmap, jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("other", [lambda x: x.sum(), lambda x: x > 0], ids=["shape", "dtype"])
def test_a_reference_of_another_shape_or_dtype_is_refused(call, other):
    primitive = kernel(jnp.sin)
    derive(primitive, other)
    with pytest.raises(PluginError, match=r"reference of kernel gives .* the primitive float32\["):
        call(primitive.bind)(jnp.ones((2, 3)))


def test_binding_again_is_refused_where_leading_axes_are_not_alike():
    primitive = kernel(lambda x: x[:1])
    derive(primitive, lambda x: x[:1], batching="bind")
    with pytest.raises(PluginError, match=r'gives float32\[1,3\] .* float32\[2,1\] was expected(.|\n)*batching="body"'):
        jax.vmap(primitive.bind)(jnp.ones((2, 3)))


@pytest.mark.parametrize("several", [False, True])
def test_a_reference_returns_an_array_or_several_as_the_primitive_does(several):
    primitive = kernel(lambda x: [x, x] if several else x, multiple_results=several)
    derive(primitive, lambda x: x if several else (x, x))
    got = r"a \w*Tracer.* has multiple results. Expected a list" if several else "a tuple.* has one result. Expected an"
    with pytest.raises(PluginError, match=f"The reference of kernel returns {got}"):
        jax.vmap(primitive.bind)(jnp.ones(3))


@pytest.mark.parametrize("arguments", [(jnp.sin, jnp.sin), ("sin", jnp.sin), (lax.sin_p, "sin")])
def test_a_rule_is_derived_for_a_primitive_from_a_function(arguments):
    with pytest.raises(PluginError, match=r"Expected derive\(primitive, reference\)"):
        derive(*arguments)


def test_a_word_that_is_no_batching_is_refused():
    with pytest.raises(PluginError, match="Expected 'bind' or 'body'"):
        derive(Primitive("kernel"), jnp.sin, batching="map")


def test_a_primitive_without_a_lowering_is_exported_where_only_its_reference_is_needed():
    primitive = kernel(jnp.sin)
    derive(primitive, jnp.sin)
    check(jax.vmap(primitive.bind), Spec((2, 3), jnp.float32), plugins=[j2o_autodiff.plugin, lowered])
    opaque = Primitive("kernel")
    opaque.def_abstract_eval(lambda x: x)
    derive(opaque, jnp.sin)
    with pytest.raises(UnsupportedError, match="kernel"):
        to_onnx(opaque.bind, [(3,)], plugins=[j2o_autodiff.plugin, lowered])


def test_coverage_lists_lowered_and_derived_primitives():
    plugin = Plugin("covered")
    plugin.lowering("sin")(lambda ctx, x: ctx.op.Sin(x))
    plugin.lowering("gt", opset=20)(lambda ctx, x, y: ctx.op.Greater(x, y))
    plugin.decomposition("cholesky")(lambda x: x)
    names = [Primitive(f"covered_{name}") for name in ("bound", "mapped", "sampled")]
    derive(names[0], jnp.sin, batching="bind")
    derive(names[1], jnp.sin)
    derive(names[2], jnp.sin, differentiable=False)
    for primitive in names:
        plugin.lowering(primitive)(lambda ctx, x: x)
    rows = {row.primitive: row for row in j2o_autodiff.primitive_coverage(Registry([plugin]))}
    assert (rows["sin"].lowering, rows["sin"].vmap, rows["sin"].jvp) == ("covered 18", "JAX's", "JAX's")
    assert (rows["gt"].lowering, rows["gt"].jvp, rows["gt"].grad) == ("covered 20", "zero", "zero")
    assert rows["cholesky"].lowering == "covered (JAX code)"
    assert rows["covered_bound"].vmap == "B: bound again"
    assert rows["covered_mapped"].vmap == "A: reference mapped"
    assert rows["covered_mapped"].grad == "B: primal bound again, tangent of the reference"
    assert rows["covered_sampled"].grad.startswith("no, by design")
    table = j2o_autodiff.markdown(list(rows.values()), {"seen": {"sin": "3 of 3"}})
    assert "| `sin` | covered 18 | JAX's | JAX's | JAX's | 3 of 3 |" in table
