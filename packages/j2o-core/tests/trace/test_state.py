"""Arguments that a function returns anew."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SpecError

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


class Momentum(NamedTuple):
    count: jax.Array
    mean: dict


WEIGHTS = {"weight": jax.ShapeDtypeStruct((2, 3), np.float32), "bias": jax.ShapeDtypeStruct((3,), np.float32)}
MOMENTUM = Momentum(jax.ShapeDtypeStruct((), np.int32), WEIGHTS)


def descend(weights, momentum, rate):
    mean = jax.tree.map(lambda m, w: 0.5 * m + w * rate, momentum.mean, weights)
    weights = jax.tree.map(lambda w, m: w - m, weights, mean)
    return weights, Momentum(momentum.count + 1, mean), jnp.sum(weights["bias"])


def test_state_is_called_after_its_input(export):
    program = export(descend, [WEIGHTS, MOMENTUM, ()], state=["weights", "momentum"], output_names=["loss"])
    names = ["weights.bias", "weights.weight", "momentum.count", "momentum.mean.bias", "momentum.mean.weight"]
    assert program.input_names == [*names, "rate"]
    assert program.output_names == [*(f"next.{name}" for name in names), "loss"]
    assert program.state == {f"next.{name}": name for name in names}


def test_a_session_loops_as_the_function_does(export):
    program = export(descend, [WEIGHTS, MOMENTUM, ()], state=["weights", "momentum"])
    rng = np.random.default_rng(0)
    weights = {"weight": rng.random((2, 3), np.float32), "bias": rng.random(3, np.float32)}
    momentum = Momentum(np.int32(0), jax.tree.map(np.zeros_like, weights))
    feed = program.feed(weights, momentum, np.float32(0.3))
    for _ in range(3):
        weights, momentum, loss = descend(weights, momentum, np.float32(0.3))
        results = dict(zip(program.output_names, program.session.session.run(None, feed), strict=True))
        feed |= {program.state[name]: value for name, value in results.items() if name in program.state}
        np.testing.assert_allclose(results["output_2"], loss, rtol=1e-5)
    assert feed["momentum.count"] == 3
    np.testing.assert_allclose(feed["weights.weight"], weights["weight"], rtol=1e-5)


@pytest.mark.parametrize(
    ("fn", "state", "expected"),
    [
        (lambda x, y: {"x": x + y, "y": y}, ["x"], {"next.x": "x"}),
        (lambda x, y: {"y": x, "x": y}, ["y", "x"], {"next.y": "y", "next.x": "x"}),
        (lambda x, y: (x, y), ["y", "x"], {"next.y": "y", "next.x": "x"}),
        (lambda x, y: (x, y), {"y": 1, "x": 0}, {"next.y": "y", "next.x": "x"}),
        (lambda x, y: (x, [y]), {"x": 0}, {"next.x": "x"}),
        (lambda x, y: x + y, ["x"], {"next.x": "x"}),
        (lambda x, y: {"a": x, "b": y}, {"y": "b"}, {"next.y": "y"}),
    ],
)
def test_where_new_values_are_found(export, fn, state, expected):
    program = export(fn, [(2, 3), (2, 3)], state=state)
    assert program.state == expected
    np.testing.assert_equal(program(X, X + 1), fn(X, X + 1))


def test_state_that_is_the_whole_result(export):
    program = export(lambda pair: (pair[1], pair[0]), [[(2,), (3,)]], state={}, input_names=["a", "b"])
    assert program.state == {}
    program = export(lambda pair: (pair[0] + 1, pair[1]), [[(2,), (3,)]], state=["pair"], input_names=["a", "b"])
    assert program.state == {"next.a": "a", "next.b": "b"}


def test_state_that_grows(export):
    program = export(lambda past, new: jnp.concatenate([past, new]), [("T", 3), (1, 3)], state=["past"])
    feed = program.feed(np.zeros((0, 3), np.float32), X[:1])
    for _ in range(3):
        (feed["past"],) = program.session.session.run(None, feed)
    np.testing.assert_array_equal(feed["past"], np.repeat(X[:1], 3, axis=0))


def test_feed_has_the_form_of_the_graph(export):
    program = export(lambda tree, z: (tree["b"] + tree["a"], z), [{"a": (2,), "b": (2,)}, X[0, :2] + 0j])
    feed = program.feed({"b": X[0, :2], "a": X[1, :2]}, np.array([1j, 2], np.complex64))
    assert {name: value.tolist() for name, value in feed.items() if name == "z"} == {"z": [[0, 1], [2, 0]]}
    np.testing.assert_array_equal(feed["tree.a"], X[1, :2])
    with pytest.raises(SpecError, match=r"The call lacks 'tree\.a', 'tree\.b' and has 'tree'"):
        program.feed(X, X)


@pytest.mark.parametrize(
    ("fn", "state", "message"),
    [
        (lambda x, n: (x, n), "x", r"state is 'x'. Expected different names of arguments"),
        (lambda x, n: (x, n), ["x", "x"], "Expected different names"),
        (lambda x, n: (x, n), [0], "Expected different names"),
        (lambda x, n: (x, n), ["y"], r"state has 'y', which is no argument with arrays. Expected some of x, n"),
        (lambda x, n: (x, n), {"x": 5}, r"argument 'x' is state, but result '5' does not hold its 1 arrays"),
        (lambda x, n: ({"a": x}, n), ["x"], r"Missing are the value itself; too many are 'a'"),
        (lambda x, n: (x[0], n), ["x"], r"'x' goes in as float32\[2, 3\] and comes out as float32\[3\] \(result '0'\)"),
        (lambda x, n: (x, n * 0.5), ["x", "n"], r"'n' goes in as int32\[\] and comes out as float32\[\]"),
        (lambda x, n: (x, n), {"x": 0, "n": 0}, "gives the result '0' to two arguments"),
    ],
)
def test_state_that_could_not_be_fed_back(export, fn, state, message):
    with pytest.raises(SpecError, match=message):
        export(fn, [(2, 3), jax.ShapeDtypeStruct((), np.int32)], state=state)


def test_names_are_asked_for_what_is_no_state(export):
    with pytest.raises(SpecError, match=r"output_names has 2 names, .* Expected 1: for output_1"):
        export(lambda x, y: (x, y), [(3,), (3,)], state=["x"], output_names=["a", "b"])


def test_numbers_are_state_like_arrays(export):
    class Step(NamedTuple):
        position: object
        reward: object

    before = Step(X[0], np.float32(1))
    program = export(lambda s: s._replace(position=s.position * 2, reward=0.0), [before], state=["s"])
    assert program.state == {"next.s.position": "s.position", "next.s.reward": "s.reward"}
    with pytest.raises(SpecError, match=r"goes in as int32\[\] and comes out as float32\[\]"):
        export(lambda s: s._replace(reward=0.0), [Step(X[0], 1)], state=["s"])


def test_numbers_of_equinox_modules_are_no_state(export):
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Env(type("Module", (), {"__module__": "equinox._module"})):
        position: object
        reward: object

    with pytest.raises(SpecError, match=r"'reward': a Python number in an Equinox module is a setting, no array\."):
        export(lambda s: Env(s.position, 0.0), [Env(X[0], np.float32(1))], state=["s"])
