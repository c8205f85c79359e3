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
