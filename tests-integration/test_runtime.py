"""Programs that were exported here, run by j2o-runtime, which has no JAX, as by j2o-core."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_runtime import ArgumentError, Runner


class Carry(NamedTuple):
    h: jax.Array
    seen: jax.Array


def recurrent(model, carry, x, *, key, scale):
    h = jax.vmap(model)(x, carry.h) * scale
    noise = jax.random.normal(key, h.shape[1:])
    spectrum = jnp.fft.rfft(x, axis=-1)
    return {"carry": Carry(h, carry.seen + 1), "out": [h + noise, None, spectrum]}


@pytest.fixture(scope="module")
def exported():
    model = eqx.nn.GRUCell(4, 6, key=jax.random.key(0))
    specs = {
        "model": model,
        "carry": Carry(("B", 6), jax.ShapeDtypeStruct((), jnp.int32)),
        "x": ("B", 4),
        "key": jax.random.key(0),
        "scale": jnp.asarray(1.0),
    }
    program = j2o_core.to_onnx(recurrent, specs, state={"carry": "carry"}, constraints=["B >= 2"])
    return model, program


@pytest.fixture(scope="module")
def path(exported, tmp_path_factory):
    return exported[1].save(tmp_path_factory.mktemp("runtime") / "step.onnx")[0]


def arguments(model, key):
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    return {"model": model, "carry": Carry(np.zeros((3, 6), np.float32), np.int32(0)), "x": x, "key": key, "scale": 2}


def test_the_runner_gives_the_functions_results(exported, path):
    model, _ = exported
    key = jax.random.key(3)
    want = recurrent(**arguments(model, key))
    runner = Runner(path)
    plain = jax.tree.map(lambda leaf: np.asarray(leaf) if eqx.is_array(leaf) else leaf, model)
    got = runner(**arguments(plain, np.asarray(jax.random.key_data(key))))
    assert jax.tree.structure(got["out"]) == jax.tree.structure(want["out"])
    for name, value, expected in zip("hsoz", jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert value.dtype == expected.dtype, name
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    named = {f"model.{name}": array for name, array in vars(plain).items()}
    assert runner.signature.state == {"next.carry.h": "carry.h", "next.carry.seen": "carry.seen"}
    assert {array.name for array in runner.signature.inputs} & named.keys()


def test_the_runner_keeps_state_as_a_loop_in_jax_does(exported, path):
    model, _ = exported
    given = arguments(model, np.zeros(2, np.uint32))
    carry = given.pop("carry")
    steps = Runner(path).steps(carry=carry)
    for _ in range(3):
        steps(**given)
        carry = recurrent(**{**given, "key": jax.random.wrap_key_data(given["key"]), "carry": carry})["carry"]
    np.testing.assert_allclose(steps.state["carry"].h, carry.h, rtol=1e-5, atol=1e-6)
    assert steps.state["carry"].seen == 3


def test_both_refuse_the_same_calls_and_name_the_same_argument(exported, path):
    model, _ = exported
    runner, loaded = Runner(path), j2o_core.OnnxProgram.load(path)
    good = arguments(model, np.zeros(2, np.uint32))
    typed = {**good, "key": jax.random.key(0)}
    for change in (
        {"x": np.ones((3, 5), np.float32)},
        {"x": np.ones((2, 4), np.float32)},
        {"carry": None},
        {"carry": {"h": np.zeros((3, 6), np.float32)}},
        {"x": [1.0]},
        {"other": 1},
    ):
        with pytest.raises(ArgumentError) as mine:
            runner(**{**good, **change})
        with pytest.raises(j2o_core.SpecError) as theirs:
            loaded(**{**typed, **change})
        assert str(mine.value).split(": ")[0].rstrip(".") in str(theirs.value)
    small = {"carry": Carry(np.zeros((1, 6), np.float32), np.int32(0)), "x": np.ones((1, 4), np.float32)}
    with pytest.raises(ArgumentError, match=r"constraint B >= 2, and here B = 1"):
        runner(**{**good, **small})
