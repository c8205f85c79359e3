"""AdamW and Muon with their schedules."""

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import optax

from ._config import require
from ._model import Transformer


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How weights change.

    Attributes:
        lr: Highest learning rate; of Muon, for matrices.
        weight_decay: Weight decay, of everything; with Muon, of matrices.
        optimizer: `"adamw"`, or `"muon"` (Jordan, 2024), which takes AdamW for all that is no matrix.
        adam_lr: Highest learning rate of AdamW beside Muon; by default `lr`.
        schedule: `"cosine"`: linear from 0, then a cosine down to 0; `"wsd"`: linear from 0, constant, linear to 0.
        n_steps: Steps of the whole training.
        warmup_steps: Steps from 0 to `lr`.
        decay_steps: Steps from `lr` to 0 at the end; of `"wsd"` only.
        grad_clip: Highest norm of all gradients together; 0 for no limit.
    """

    lr: float = 1e-4
    weight_decay: float = 0.05
    optimizer: Literal["adamw", "muon"] = "adamw"
    adam_lr: float | None = None
    schedule: Literal["cosine", "wsd"] = "cosine"
    n_steps: int = 10_000
    warmup_steps: int = 0
    decay_steps: int = 0
    grad_clip: float = 1.0

    def __post_init__(self) -> None:
        require(
            self.optimizer in ("adamw", "muon"),
            f"OptimizerConfig.optimizer must be 'adamw' or 'muon', not {self.optimizer!r}.",
        )
        require(
            self.schedule in ("cosine", "wsd"),
            f"OptimizerConfig.schedule must be 'cosine' or 'wsd', not {self.schedule!r}.",
        )
        decay = self.decay_steps if self.schedule == "wsd" else 1
        require(
            self.warmup_steps >= 0 and decay >= 0 and self.warmup_steps + decay <= self.n_steps,
            f"OptimizerConfig: {self.warmup_steps} steps of warm-up and {decay} of decay do not fit into "
            f"{self.n_steps}.",
        )


def schedule(config: OptimizerConfig, peak: float) -> optax.Schedule:
    """The learning rate as a function of the step, of height `peak`."""
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if config.warmup_steps else peak, peak, config.warmup_steps, config.n_steps
        )
    # A part without steps is left out: joined schedules with equal boundaries would skip the wrong one.
    constant = config.n_steps - config.warmup_steps - config.decay_steps
    parts = [
        (config.warmup_steps, optax.linear_schedule(0.0, peak, config.warmup_steps)),
        (constant, optax.constant_schedule(peak)),
        (config.decay_steps, optax.linear_schedule(peak, 0.0, config.decay_steps)),
    ]
    parts = [part for part in parts if part[0]]
    ends = [sum(steps for steps, _ in parts[: number + 1]) for number in range(len(parts) - 1)]
    return optax.join_schedules([part for _, part in parts], ends)


def muon_dimensions(params: Any) -> Any:
    """Which leaves are matrices for Muon, and along which axes.

    Weights of linear layers are `[out, in]`; those of stacked blocks have the axis of the blocks before. By their
    number of axes alone, stacked matrices would pass for something else, and stacked biases and scales for matrices.

    Args:
        params: The parameters: encoders, objectives and probes in any tree.

    Returns:
        The tree with `MuonDimensionNumbers` for each matrix and None for all other leaves.
    """

    def of_model(model: Any) -> Any:
        if not isinstance(model, Transformer) or isinstance(model.blocks, tuple):
            return _of_layers(model, 0)
        dimensions = _of_layers(model, 0)
        return eqx.tree_at(lambda m: m.blocks, dimensions, _of_layers(model.blocks, 1))

    return jax.tree.map(of_model, params, is_leaf=lambda node: isinstance(node, Transformer))


def _of_layers(model: Any, stacked: int) -> Any:
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=1 + stacked, output_axis=stacked)

    def of_layer(layer: Any) -> Any:
        nothing = jax.tree.map(lambda leaf: None, layer)
        return (
            eqx.tree_at(lambda x: x.weight, nothing, numbers, is_leaf=lambda leaf: leaf is None)
            if isinstance(layer, eqx.nn.Linear)
            else nothing
        )

    return jax.tree.map(of_layer, model, is_leaf=lambda node: isinstance(node, eqx.nn.Linear))


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer of encoder, objective and probe together."""
    rate = schedule(config, config.lr)
    if config.optimizer == "adamw":
        update = optax.adamw(rate, weight_decay=config.weight_decay)
    else:
        update = optax.contrib.muon(
            rate,
            weight_decay=config.weight_decay,
            adam_learning_rate=schedule(config, config.lr if config.adam_lr is None else config.adam_lr),
            muon_weight_dimension_numbers=muon_dimensions,
        )
    return optax.chain(optax.clip_by_global_norm(config.grad_clip), update) if config.grad_clip else update
