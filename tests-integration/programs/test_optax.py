"""Training with optax: whole steps with their state, run turn by turn in ONNX Runtime."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core

optax = pytest.importorskip("optax")

Weights = dict[str, jax.Array]


def initial() -> Weights:
    first, second = jax.random.split(jax.random.key(0))
    return {
        "first": 0.5 * jax.random.normal(first, (3, 8)),
        "bias": jnp.zeros(8),
        "second": 0.5 * jax.random.normal(second, (8, 2)),
    }


def loss(weights: Weights, x: jax.Array, target: jax.Array) -> jax.Array:
    logits = jnp.tanh(x @ weights["first"] + weights["bias"]) @ weights["second"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()


def training_step(optimizer: object) -> Callable[..., object]:
    def step(weights: Weights, state: object, x: jax.Array, target: jax.Array) -> object:
        value, gradient = jax.value_and_grad(loss)(weights, x, target)
        updates, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, value

    return step


OPTIMIZERS = {
    "adamw": lambda: optax.adamw(1e-2, weight_decay=1e-2),
    "sgd_momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "clipped_with_schedule": lambda: optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 3, 20)),
    ),
    "adafactor": lambda: optax.adafactor(1e-2, min_dim_size_to_factor=2),
    "lion": lambda: optax.lion(1e-2),
    "rmsprop_accumulated": lambda: optax.MultiSteps(optax.rmsprop(1e-2), every_k_schedule=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_losses_follow_those_of_jax(name: str) -> None:
    """Twelve steps, each fed with what the one before returned."""
    optimizer = OPTIMIZERS[name]()
    step = training_step(optimizer)
    weights = initial()
    state = optimizer.init(weights)
    program = j2o_core.to_onnx(step, [weights, state, ("B", 3), jax.ShapeDtypeStruct(("B",), np.int32)])
    program.check()
    compiled = jax.jit(step)
    ours, jax_s = (weights, state), (weights, state)
    rng = np.random.default_rng(0)
    for turn in range(12):
        x = rng.standard_normal((4 + turn % 3, 3)).astype(np.float32)
        target = rng.integers(0, 2, len(x)).astype(np.int32)
        *ours, value = program(*ours, x, target)
        *jax_s, expected = compiled(*jax_s, x, target)
        np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert jax.tree.structure(ours) == jax.tree.structure(jax_s)
    # Rounding errors of twelve steps, divided by small second moments, add up to more than one step's.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, jax_s)
