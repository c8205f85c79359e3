"""One step of training: losses, gradients, update, and what is worth logging of them."""

import dataclasses
import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from ._config import require
from ._model import Transformer
from ._objectives import Batch, LeJepa, Supervised
from ._optimizer import OptimizerConfig, make_optimizer, schedule
from ._pixio import Pixio
from ._probes import LinearProbe, online_probe_loss, pool

Objective = Supervised | LeJepa | Pixio


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """Settings of a step beside the update.

    Attributes:
        seed: Seed of everything random in a step; the key of a step depends on the seed and its number alone.
        probe_pooling: What the online probe sees: the mean class token or the mean patch token.
        precision: `"float32"`, or `"bfloat16"` for the products of the encoder; weights, norms, softmax and losses
            stay float32.
        ema: Decay of a moving average of the encoder; 0 for none.
    """

    seed: int = 42
    probe_pooling: Literal["cls", "patches"] = "cls"
    precision: Literal["float32", "bfloat16"] = "float32"
    ema: float = 0.0

    def __post_init__(self) -> None:
        require(
            self.probe_pooling in ("cls", "patches"),
            f"StepConfig.probe_pooling must be 'cls' or 'patches', not {self.probe_pooling!r}.",
        )
        require(
            self.precision in ("float32", "bfloat16"),
            f"StepConfig.precision must be 'float32' or 'bfloat16', not {self.precision!r}.",
        )
        require(0 <= self.ema < 1, f"StepConfig.ema must lie in [0, 1), but it is {self.ema}.")


class State(eqx.Module):
    """Everything that training changes.

    Attributes:
        encoder: The encoder.
        objective: The objective with its weights.
        probe: The online probe.
        opt_state: The optimizer's state.
        ema: The moving average of the encoder, or None.
        step: int32 scalar, steps done.
    """

    encoder: Transformer
    objective: Objective
    probe: LinearProbe
    opt_state: Any
    ema: Transformer | None
    step: Array


def init_state(
    encoder: Transformer, objective: Objective, probe: LinearProbe, optimizer: OptimizerConfig, config: StepConfig
) -> State:
    """The state before the first step."""
    opt_state = make_optimizer(optimizer).init((encoder, objective, probe))
    return State(encoder, objective, probe, opt_state, encoder if config.ema else None, jnp.zeros((), jnp.int32))


def _norm(tree: Any) -> Array:
    """The Euclidean norm of all leaves together, in float32."""
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(squares, jnp.zeros(())))


def half(model: Any) -> Any:
    """The model in bfloat16, but for its norms."""

    def of_layer(layer: Any) -> Any:
        return layer if isinstance(layer, eqx.nn.LayerNorm) else jnp.asarray(layer, jnp.bfloat16)

    return jax.tree.map(of_layer, model, is_leaf=lambda node: isinstance(node, eqx.nn.LayerNorm))


def _losses(models: Any, batch: Batch, key: Array | None, config: StepConfig) -> tuple[Array, Any]:
    encoder, objective, probe = models
    if config.precision == "bfloat16":
        encoder = half(encoder)
        batch = {name: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x for name, x in batch.items()}
    outcome = objective(batch, encoder, key=key)
    embeddings = pool(outcome.output, config.probe_pooling).astype(jnp.float32)
    losses = {**outcome.losses, "probe": online_probe_loss(probe, embeddings, outcome.target)}
    return sum(losses.values(), jnp.zeros(())), (losses, embeddings)


def target_entropy(target: Array) -> Array:
    """The entropy in nats of the classes in a batch, from integer targets `[batch]`: 0 if all are one class."""
    shares = jnp.mean(target[:, None] == target[None, :], axis=1)
    return -jnp.mean(jnp.log(shares))


def train_step(
    state: State, batch: Batch, optimizer: OptimizerConfig, config: StepConfig
) -> tuple[State, dict[str, Array]]:
    """Do one step.

    Args:
        state: The state.
        batch: `data` or `views`, `target` and `index`.
        optimizer: How weights change.
        config: What else a step does.

    Returns:
        The new state, and float32 scalars by their names in the log: the losses; the norms of the gradients, of the
        update, of the parameters before and after it, and of the optimizer's state; the entropy of the targets in
        nats, and as a share of the most that the batch could have; the learning rate.
    """
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    models = (state.encoder, state.objective, state.probe)
    gradient: Any = eqx.filter_grad(_losses, has_aux=True)
    gradients, (losses, _) = gradient(models, batch, key, config)
    updates, opt_state = make_optimizer(optimizer).update(gradients, state.opt_state, models)
    changed = optax.apply_updates(models, updates)
    ema = state.ema
    if ema is not None:
        ema = jax.tree.map(lambda old, new: config.ema * old + (1 - config.ema) * new, ema, changed[0])
    metrics = {f"train/{name}": loss for name, loss in losses.items()} | {
        "train/grad_norm": _norm(gradients),
        "train/enc_grad": _norm(gradients[0]),
        "train/obj_grad": _norm(gradients[1]),
        "train/probe_grad": _norm(gradients[2]),
        "train/update_norm": _norm(updates),
        "train/param_norm_pre": _norm(models),
        "train/param_norm": _norm(changed),
        "train/opt_state_norm": _norm(eqx.filter(opt_state, eqx.is_inexact_array)),
        "train/tgt_entropy": (entropy := target_entropy(batch["target"])),
        # The most that a batch can have; upstream divides nats by bits.
        "train/tgt_entropy_frac": entropy / max(math.log(len(batch["target"])), 1e-6),
        "lr": jnp.asarray(schedule(optimizer, optimizer.lr)(state.step), jnp.float32),
    }
    encoder, objective, probe = changed
    return State(encoder, objective, probe, opt_state, ema, state.step + 1), metrics


def eval_step(state: State, batch: Batch, config: StepConfig) -> tuple[dict[str, Array], Array, Array]:
    """Losses of a batch without anything random, embeddings `[samples, embed_dim]` and the probe's logits.

    The encoder is the moving average where there is one.
    """
    encoder = state.encoder if state.ema is None else state.ema
    _, (losses, embeddings) = _losses((encoder, state.objective, state.probe), batch, None, config)
    return losses, embeddings, jax.vmap(state.probe)(embeddings)
