import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback

from j2o_core.simplify import drop_dead_code, inline_calls

X = np.linspace(-1, 1, 3, dtype=np.float32)


def simplified(fn, *args):
    return drop_dead_code(inline_calls(jax.make_jaxpr(fn)(*args)))


def primitives(jaxpr):
    return [eqn.primitive.name for eqn in jaxpr.jaxpr.eqns]


def test_what_nobody_reads_goes_with_what_only_it_read():
    weight = jnp.arange(3.0)

    def fn(x):
        unused = jnp.sort(x * weight)
        jnp.cumsum(unused)
        return jnp.sin(x)

    jaxpr = simplified(fn, X)
    assert primitives(jaxpr) == ["sin"]
    assert list(jaxpr.consts) == []


def test_inputs_stay_where_they_are():
    jaxpr = simplified(lambda x, y, z: y + 1, X, X, X)
    assert len(jaxpr.jaxpr.invars) == 3


def test_one_live_result_keeps_the_equation():
    jaxpr = simplified(lambda x: lax.top_k(x, 2)[1], X)
    assert primitives(jaxpr) == ["top_k"]


def test_branches_lose_their_dead_code():
    def branch(x):
        jnp.sort(x)
        return jnp.sin(x)

    jaxpr = simplified(lambda flag, x: lax.cond(flag, branch, jnp.cos, x), True, X)
    assert "sort" not in str(jaxpr)


def test_effects_are_kept():
    def fn(x):
        io_callback(lambda x: None, None, x)
        return x + 1

    assert primitives(simplified(fn, X)) == ["io_callback", "add"]


def _printed(x):
    jax.debug.print("{}", jnp.sort(x))
    return x + 1


PRINTS = {
    "print": _printed,
    "callback": lambda x: (jax.debug.callback(lambda v: None, x), x + 1)[1],
    "ordered print": lambda x: (jax.debug.print("{}", x, ordered=True), x + 1)[1],
    "sharding": lambda x: (jax.debug.inspect_array_sharding(x, callback=lambda s: None), x + 1)[1],
    "scan": lambda x: lax.scan(lambda c, a: (jax.debug.print("{}", c), (c + a, a))[1], 0.0, x),
    "branch": lambda x: lax.cond(x[0] > 0, _printed, jnp.cos, x),
    "unused branch": lambda x: (lax.cond(x[0] > 0, lambda: jax.debug.print("a"), lambda: None), x)[1],
    "vmap": jax.vmap(_printed),
}


@pytest.mark.parametrize("fn", PRINTS.values(), ids=PRINTS)
def test_prints_are_dropped_with_a_warning(fn):
    """They change no value. What is computed for them alone goes with them."""
    x = X[None] if fn is PRINTS["vmap"] else X
    with pytest.warns(UserWarning, match=r"at .*test_dead_code\.py:\d+ in .* is not part of the graph") as warned:
        jaxpr = simplified(fn, x)
    assert {one.filename for one in warned} == {__file__}  # the line of the caller, none of j2o's
    assert not {"debug_print", "debug_callback", "sort"} & set(str(jaxpr).replace("[", " ").split())


def test_unused_keys_and_dropout_in_inference_leave_nothing():
    def fn(x, key):
        keys = jax.random.split(key)
        jax.random.bernoulli(keys[0], 0.5, x.shape)
        return x * 2

    jaxpr = simplified(fn, X, jax.random.key(0))
    assert primitives(jaxpr) == ["mul"]
