import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive

from j2o_core import UnsupportedError
from j2o_core.simplify import ConstantTable, Decompositions, drop_dead_code, fold_constants, inline_calls
from j2o_core.simplify._functions import FunctionCalls
from j2o_core.simplify._inline import decompose
from j2o_core.trace._functions import Functions

X = np.linspace(-1, 1, 3, dtype=np.float32)


def primitives(jaxpr):
    return [eqn.primitive.name for eqn in jaxpr.jaxpr.eqns]


def run(jaxpr, *args):
    return jax.extend.core.jaxpr_as_fun(jaxpr)(*args)


@jax.custom_jvp
def with_jvp(x):
    return jnp.sin(x) * 2


with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), tangents[0]))


@jax.custom_vjp
def with_vjp(x):
    return jnp.sin(x) + 1


with_vjp.defvjp(lambda x: (with_vjp(x), None), lambda _, g: (g,))


partitioned = custom_partitioning(jnp.sin)
partitioned.def_partition(partition=lambda *_: None, sharding_rule="i -> i")

CALLS = [
    (jax.jit(jnp.sin), ["sin"]),
    (jax.jit(jax.jit(lambda x: jnp.sin(x) + 1)), ["sin", "add"]),
    (jax.checkpoint(jnp.sin), ["sin"]),
    (with_jvp, ["sin", "mul"]),
    (with_vjp, ["sin", "add"]),
    (lambda x: lax.stop_gradient(jnp.sin(x)), ["sin"]),
    (lambda x: lax.optimization_barrier(jnp.sin(x)), ["sin"]),
    (lambda x: jax.jit(lambda y: y)(x), []),
    (partitioned, ["sin"]),
    (lax.composite(lambda x: jnp.sin(x) * 2, name="my.double_sine"), ["sin", "mul"]),
    (jax.vmap(with_jvp), ["sin", "mul"]),
]


@pytest.mark.parametrize(("fn", "expected"), CALLS, ids=range(len(CALLS)))
def test_calls_become_their_bodies(fn, expected):
    jaxpr = inline_calls(jax.make_jaxpr(fn)(X))
    assert primitives(jaxpr) == expected
    np.testing.assert_allclose(run(jaxpr, X)[0], fn(X), rtol=1e-6)


def test_a_body_used_twice_gets_variables_of_its_own():
    square = jax.jit(lambda x: jnp.sin(x) * x)
    jaxpr = inline_calls(jax.make_jaxpr(lambda x: square(square(x)))(X))
    assert primitives(jaxpr) == ["sin", "mul", "sin", "mul"]
    variables = [var for eqn in jaxpr.jaxpr.eqns for var in eqn.outvars]
    assert len(set(variables)) == 4
    np.testing.assert_allclose(run(jaxpr, X)[0], square(square(X)), rtol=1e-6)


def test_a_constant_used_in_two_calls_is_one():
    weight = jnp.arange(3.0)
    one, two = jax.jit(lambda x: x * weight), jax.jit(lambda x: x + weight)
    jaxpr = inline_calls(jax.make_jaxpr(lambda x: one(x) + two(x))(X))
    assert len(jaxpr.consts) == 1
    np.testing.assert_allclose(run(jaxpr, X)[0], one(X) + two(X), rtol=1e-6)


def test_branches_and_bodies_are_inlined_too():
    inner = jax.jit(jnp.sin)

    def fn(x):
        x = lax.cond(x[0] > 0, inner, jax.jit(jnp.cos), x)
        return lax.fori_loop(0, 3, lambda i, y: inner(y), x)

    jaxpr = inline_calls(jax.make_jaxpr(fn)(X))
    assert "jit" not in str(jaxpr)
    np.testing.assert_allclose(run(jaxpr, X)[0], fn(X), rtol=1e-6)


def test_equations_that_jax_made_get_the_line_of_their_caller(export, check):
    program = check(lambda x: jax.nn.relu(x), X, opsets=[21])
    (node,) = program.model.graph
    assert node.metadata_props["j2o.source"].startswith("test_inline.py:")


def test_a_decomposition_may_leave_an_equation_as_it_is():
    def half(x, **_):
        return NotImplemented if x.ndim else jnp.cos(x) + 1

    jaxpr = decompose(jax.make_jaxpr(lambda x: jnp.sin(x).sum() + jnp.sin(x[0]))(X), Decompositions({"sin": half}))
    assert primitives(jaxpr).count("sin") == 1
    assert primitives(jaxpr).count("cos") == 1


@pytest.mark.parametrize(
    "stage", [inline_calls, drop_dead_code, lambda jaxpr: fold_constants(jaxpr, ConstantTable({}))]
)
def test_a_jaxpr_whose_constants_belong_to_an_outer_trace_is_left_alone(stage):
    """Equinox converts closures to jaxprs and gives them to its primitives, traced constants and all."""
    primitive = Primitive("holds_a_closure")
    primitive.def_abstract_eval(lambda x, *, closures: x)
    kept = []

    def fn(x):
        inner = jax.make_jaxpr(lambda y: y + jnp.sin(x))(x)
        opened = inner.jaxpr
        kept.append((inner, opened))
        return primitive.bind(x, closures=(inner, opened))

    (eqn,) = [eqn for eqn in stage(jax.make_jaxpr(fn)(X)).jaxpr.eqns if eqn.primitive is primitive]
    assert eqn.params["closures"] == kept[0]


def test_a_function_with_its_own_rule_for_vmap_is_its_body_where_nothing_is_mapped(check):
    @jax.custom_batching.custom_vmap
    def wave(x):
        return jnp.sin(x) * 2

    @wave.def_vmap
    def _mapped(axis_size, in_batched, x):
        return jnp.cos(x), True

    assert [node.op_type for node in check(wave, np.ones(3, np.float32), opsets=[21]).model.graph] == ["Sin", "Mul"]
    assert [node.op_type for node in check(jax.vmap(wave), np.ones(3, np.float32), opsets=[21]).model.graph] == ["Cos"]


def test_work_of_several_devices_is_refused(export):
    mesh, axes = jax.sharding.AbstractMesh((2,), ("i",)), jax.sharding.PartitionSpec()
    fn = jax.shard_map(jnp.sin, mesh=mesh, in_specs=axes, out_specs=axes)
    with pytest.raises(UnsupportedError, match="over 2 devices"):
        export(fn, [(4,)])


def test_a_call_that_writes_to_a_reference_is_inlined():
    """A function of ONNX has no effects."""

    @jax.jit
    def add(x, total):
        total[...] += x
        return x * 2

    def fn(x):
        total = jax.new_ref(jnp.zeros(3))
        return add(x, total), total[...]

    calls = [eqn for eqn in jax.make_jaxpr(fn)(np.ones(3, np.float32)).eqns if eqn.params.get("name") == "add"]
    functions = FunctionCalls(Functions([add]), ConstantTable({}), keep_weights=False)
    assert [functions.convert(eqn) for eqn in calls] == [None]
    (pure,) = jax.make_jaxpr(jax.jit(lambda x: x * 2))(1.0).eqns
    assert FunctionCalls(Functions(["<lambda>"]), ConstantTable({}), keep_weights=False).convert(pure) is not None
