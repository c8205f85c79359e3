"""The exported functions: a training step, and the accuracy of a model, in Equinox and optax without a word of ONNX."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

Step = Callable[[Any, Any, Any, Any], tuple[Any, Any, Array]]


def loss_of(model: Any, images: Any, labels: Any) -> Array:
    """Mean cross-entropy of `[batch, channels, height, width]` images and `[batch]` labels."""
    logits = jax.vmap(model)(images)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def accuracy(model: Any, images: Any, labels: Any) -> Array:
    """The share of images whose digit is recognised."""
    return jnp.mean(jnp.argmax(jax.vmap(model)(images), axis=-1) == labels)


def make_step(optimizer: optax.GradientTransformation) -> Step:
    """The function `step(model, opt_state, images, labels) -> (model, opt_state, loss)`."""

    def step(model: Any, opt_state: Any, images: Any, labels: Any) -> tuple[Any, Any, Array]:
        loss, gradients = eqx.filter_value_and_grad(loss_of)(model, images, labels)
        updates, opt_state = optimizer.update(gradients, opt_state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), opt_state, loss

    return step


def initial_state(optimizer: optax.GradientTransformation, model: Any) -> Any:
    """The optimizer's state before the first step."""
    return optimizer.init(eqx.filter(model, eqx.is_inexact_array))
