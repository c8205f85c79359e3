"""Layers of `equinox.nn` in training: with a state that changes, over several steps, and with random keys."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_core.testing import check

X = jnp.sin(jnp.arange(24.0) ** 2).reshape(4, 6)


def key(number: int = 0) -> jax.Array:
    return jax.random.key(number)


def stateful(make: Any) -> tuple[Any, Any]:
    """A layer and its state."""
    return eqx.nn.make_with_state(make)()


def batched(layer: Any, x: Any, state: Any) -> Any:
    return jax.vmap(layer, (0, None), (0, None), axis_name="batch")(x, state)


def spectral() -> Any:
    return eqx.nn.SpectralNorm(eqx.nn.Linear(6, 4, key=key()), "weight", num_power_iterations=2, key=key(1))


LAYERS = {
    "BatchNorm, averages of each batch": lambda: eqx.nn.BatchNorm(6, "batch", mode="batch"),
    "BatchNorm, moving averages": lambda: eqx.nn.BatchNorm(6, "batch", mode="ema", momentum=0.9),
    "BatchNorm, legacy, without weights": lambda: eqx.nn.BatchNorm(6, "batch", channelwise_affine=False, mode="legacy"),
    "SpectralNorm": spectral,
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the mode "legacy"
@pytest.mark.parametrize("name", LAYERS)
def test_states_over_three_steps(name):
    """Under jit and vmap, with the gradient of the layer; the state goes into the next step."""
    layer, state = stateful(LAYERS[name])
    arrays, rest = eqx.partition(layer, eqx.is_inexact_array)

    def step(arrays: Any, state: Any, x: Any) -> Any:
        def loss(arrays: Any) -> Any:
            result, after = batched(eqx.combine(arrays, rest), x, state)
            return jnp.sum(jnp.sin(result)), (result, after)

        return jax.grad(loss, has_aux=True)(arrays)

    compiled = jax.jit(step)
    program = j2o_core.to_onnx(step, [arrays, state, X])
    for number in range(3):
        x = X * (number + 1) - number
        wanted, got = compiled(arrays, state, x), program(arrays, state, x)
        assert jax.tree.structure(wanted) == jax.tree.structure(got)
        for want, have in zip(jax.tree.leaves(wanted), jax.tree.leaves(got), strict=True):
            np.testing.assert_allclose(have, want, rtol=2e-5, atol=1e-5)
        state = wanted[1][1]


@pytest.mark.parametrize("inference", [False, True])
def test_inference_mode(inference):
    """Statistics of the batch in training, those of the state in inference."""
    layer, state = stateful(LAYERS["BatchNorm, moving averages"])
    layer = eqx.nn.inference_mode(layer, inference)
    check(lambda x, state: batched(layer, x, state), X, state, opsets=(21,))


def test_a_model_without_its_initial_state():
    layer, state = stateful(spectral)
    layer = eqx.nn.delete_init_state(layer)
    check(lambda x, state: batched(layer, x, state), X, state, opsets=(21,))


def test_dropout_with_a_key():
    layer = eqx.nn.Dropout(0.4)
    check(lambda x, key: layer(x, key=key), X, key(), opsets=(21,))
    keys = jax.random.split(key(), 4)
    check(jax.vmap(lambda x, key: layer(x, key=key)), X, keys, opsets=(21,))


@pytest.mark.parametrize("opset", [21, 26])
def test_attention_with_dropout(opset):
    layer = eqx.nn.MultiheadAttention(2, 6, dropout_p=0.3, key=key())
    check(lambda x, key: layer(x, x, x, key=key), X, key(), opsets=(opset,))


class Net(eqx.Module):
    """A layer, and two batch norms behind it."""

    linear: eqx.nn.Linear
    norms: list[eqx.nn.BatchNorm]

    def __init__(self, key: jax.Array):
        self.linear = eqx.nn.Linear(6, 4, key=key)
        self.norms = [eqx.nn.BatchNorm(4, "batch", mode=mode) for mode in ("batch", "ema")]

    def __call__(self, x: Any, state: Any) -> Any:
        x = self.linear(x)
        for norm in self.norms:
            x, state = norm(x, state)
        return x, state


def returned(kind: str, y: Any, state: Any) -> Any:
    return {"tuple": (y, state), "dictionary": {"new": state, "y": y}, "nested": (y, (state,)), "dropped": y}[kind]


@pytest.mark.parametrize(("kind", "paired"), [("tuple", 6), ("dictionary", 6), ("nested", 0), ("dropped", 0)])
def test_a_state_that_is_returned_is_the_next_state(kind, paired):
    net, state = eqx.nn.make_with_state(Net)(key())
    program = j2o_core.to_onnx(lambda x, state: returned(kind, *batched(net, x, state)), [X, state])
    assert len(program.state) == paired
    assert all(after == f"next.{before}" for after, before in program.state.items())
    if kind == "tuple":
        assert program.output_names[0] == "output_0"
        _, after = program(X, state)
        _, wanted = batched(net, X, state)
        for got, want in zip(jax.tree.leaves(after), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_several_states_are_paired_in_order_and_by_what_state_says():
    net, state = eqx.nn.make_with_state(Net)(key())

    def both(x: Any, one: Any, two: Any) -> Any:
        y, one = batched(net, x, one)
        y, two = batched(net, x + y.sum(), two)
        return y, one, two

    program = j2o_core.to_onnx(both, [X, state, state])
    assert {after: before for after, before in program.state.items() if before.endswith(".0")}["next.two.0"] == "two.0"
    assert len(program.state) == 12
    crossed = j2o_core.to_onnx(both, [X, state, state], state={"one": 2})
    assert len(crossed.state) == 6


def test_a_batch_norm_in_training_whose_state_is_a_constant_is_named():
    net, state = eqx.nn.make_with_state(Net)(key())
    with pytest.warns(UserWarning, match=r"norms\.[01] \(BatchNorm\): it takes the statistics of the batch") as warned:
        j2o_core.to_onnx(lambda x: batched(net, x, state)[0], [X])
    assert sorted(str(one.message).partition(" ")[0] for one in warned) == ["net.norms.0", "net.norms.1"]
    assert {one.filename for one in warned} == {__file__}


@pytest.mark.filterwarnings("error")
def test_no_warning_where_the_mode_was_meant():
    net, state = eqx.nn.make_with_state(Net)(key())
    inference = eqx.nn.inference_mode(net)
    j2o_core.to_onnx(lambda x: batched(inference, x, state)[0], [X])
    j2o_core.to_onnx(lambda x, state: batched(net, x, state), [X, state])
