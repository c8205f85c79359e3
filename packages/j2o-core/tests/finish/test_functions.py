"""Functions of the file, with core alone: what they take as inputs, and what lies outside of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core import SpecError

RNG = np.random.default_rng(0)
W, V = (jnp.asarray(RNG.standard_normal((4, 4)), jnp.float32) for _ in range(2))
X = RNG.standard_normal((3, 4)).astype(np.float32)


@j2o_core.function
def layer(x, w):
    return jnp.sin(x) @ w


@j2o_core.function
def turned(x, w):
    return layer(x, w.T) + x


def _fold(w):
    return w.reshape(2, 4, 2).transpose(2, 1, 0).reshape(4, 4)


@j2o_core.function
def folded(x, w):
    return layer(x, _fold(w)) + x


@j2o_core.function
def with_layout(x, w):
    return x @ w.T, w.T


@j2o_core.function
def placed(x, w):
    return jnp.sin(x) @ w + jnp.arange(x.shape[0], dtype=jnp.float32)[:, None]


@j2o_core.function
def passing(x):
    return x, x, jnp.float32(3)


def _functions(program):
    return {function.name: [value.name for value in function.inputs] for function in program.model.functions.values()}


def _calls(program):
    return [node.op_type for node in program.model.graph if node.domain == "j2o.functions"]


def test_equal_calls_are_one_function_with_weights_as_inputs(check):
    program = check(lambda x: layer(layer(x, W), V), X)
    assert _functions(program) == {"layer": ["x", "w"]}
    assert _calls(program) == ["layer", "layer"]
    assert len(program.model.graph.initializers) == 2


@pytest.mark.parametrize("fn", [turned, folded])
def test_weights_are_stored_in_the_layout_in_which_the_functions_read_them(check, fn):
    program = check(lambda x: fn(fn(x, W), V), X)
    assert _functions(program) == {"layer": ["x", "w"], fn.__name__: ["x", "w"]}
    assert [node.op_type for node in program.model.functions["j2o.functions", fn.__name__, ""]] == ["layer", "Add"]
    stored = [value.const_value.numpy() for value in program.model.graph.initializers.values()]
    for array, weight in zip(stored, (W, V), strict=True):
        np.testing.assert_array_equal(array, weight.T if fn is turned else _fold(weight))


def test_a_weight_that_is_an_argument_has_its_layout_changed_by_the_function(check):
    program = check(lambda x, w: turned(turned(x, w), W), X, np.asarray(V))
    assert _functions(program)["turned"] == ["x", "w"]
    assert "Transpose" in [node.op_type for one in program.model.functions.values() for node in one]


def test_a_weight_that_one_call_computes_has_its_layout_changed_by_the_function(check):
    program = check(lambda x, w: turned(turned(x, W), jnp.sin(w)), X, np.asarray(V))
    assert _functions(program)["turned"] == ["x", "w"]


def test_a_layout_of_a_weight_that_is_a_result(check):
    check(lambda x: tuple(y + z for y, z in zip(with_layout(x, W), with_layout(x, V), strict=True)), X)


def test_work_that_all_calls_share_is_done_once(export):
    program = export(lambda x: placed(placed(x, W), V), [("B", 4)])
    assert "Range" in [node.op_type for node in program.model.graph]
    assert _functions(program) == {"placed": ["x", "w", "shared"]}
    np.testing.assert_allclose(program(X), placed(placed(X, W), V), rtol=1e-5, atol=1e-5)


def test_results_that_are_inputs_constants_or_repeated(check):
    program = check(lambda x: passing(passing(x)[1]), X)
    assert _calls(program) == ["passing", "passing"]


def test_a_function_that_nothing_reads_is_left_out(check):
    program = check(lambda x: (layer(x, W), x)[1] + 1, X)
    assert not program.model.functions


def test_a_name_that_nothing_has(export):
    with pytest.raises(SpecError, match="functions has 'absent'"):
        export(lambda x: layer(x, W), [(3, 4)], functions=["absent"])


def test_a_jitted_function_by_its_name(export):
    program = export(jax.jit(lambda x: jax.jit(layer.__wrapped__)(x, W)), [("B", 4)], functions=["layer"])
    assert _calls(program) == ["layer"]
