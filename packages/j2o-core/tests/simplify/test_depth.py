"""Programs nested deeper than Python calls itself, made from the inside out so that JAX does not have to, either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from j2o_core import UnsupportedError
from j2o_core.plugin._registry import Registry
from j2o_core.simplify import decompositions_of, simplify

DEPTH = 1200  # Python's limit is 1000 calls
SOME = 400  # where a level would take several
X = jnp.arange(3, dtype=jnp.float32)

WRAPPERS = {
    "jit": jax.jit,
    "remat": jax.checkpoint,
    "cond": lambda f: lambda x: lax.cond(x.sum() < 5, f, lambda x: x, x),
    "scan": lambda f: lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=100)[0],
    "turn": lambda f: lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=1)[0],
}


def deep(wrap, depth):
    closed = jax.make_jaxpr(lambda x: x * 0.5)(X)
    for _ in range(depth):
        closed = jax.make_jaxpr(wrap(lambda x, closed=closed: jaxpr_as_fun(closed)(x)[0] + 1))(X)
    return closed


@pytest.mark.parametrize("name", ["jit", "remat"])
def test_calls_are_inlined_at_any_depth(export, name):
    program = export(lambda x: jaxpr_as_fun(deep(WRAPPERS[name], DEPTH))(x)[0], [(3,)])
    assert len(program.model.graph) == DEPTH + 1
    np.testing.assert_allclose(program(X), X / 2 + DEPTH)


@pytest.mark.parametrize("name", ["cond", "scan"])
def test_control_flow_is_simplified_at_any_depth(name):
    closed = simplify(deep(WRAPPERS[name], SOME))
    assert [eqn.primitive.name for eqn in closed.jaxpr.eqns].count(name) == 1


def test_complex_numbers_are_made_real_at_any_depth(plugin):
    plugin.encoded("complex", "complex")(lambda eqn, x, y: jnp.stack([x, y], -1))
    plugin.encoded("real", "complex")(lambda eqn, z: z[..., 0])

    def wrap(f):
        return lambda x: lax.cond(x.sum() < 5, lambda x: f(lax.complex(x, x).real), lambda x: x, x)

    closed = simplify(deep(wrap, SOME), decompositions=decompositions_of(Registry([plugin])))
    assert "complex" not in {eqn.primitive.name for eqn in closed.jaxpr.eqns}


def test_control_flow_deeper_than_any_file_is_refused(export):
    """Protobuf reads a hundred messages inside each other: such a file was written, and nothing could read it."""
    program = export(lambda x: jaxpr_as_fun(deep(WRAPPERS["cond"], 31))(x)[0], [(3,)])
    program.check()
    np.testing.assert_allclose(program(X), X / 2 + 31)
    for depth in (32, 200):
        with pytest.raises(UnsupportedError, match=r"nested 32 levels deep at .*\nExpected 31 levels at most"):
            export(lambda x, depth=depth: jaxpr_as_fun(deep(WRAPPERS["cond"], depth))(x)[0], [(3,)])


def test_a_recursion_of_rules_is_an_error_that_says_what_to_do(export, plugin):
    @plugin.lowering("scan")
    def _scan(ctx, x, *, jaxpr, **_):
        return ctx.lower_jaxpr(jaxpr, x)

    with pytest.raises(UnsupportedError, match=r"scan at .* holds functions that hold functions, deeper than Python"):
        export(lambda x: jaxpr_as_fun(deep(WRAPPERS["turn"], SOME))(x)[0], [(3,)])
