"""The training loop: batches, steps, evaluation, checkpoints, logs; on one device, several, or several processes."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ._augment import Augmentation
from ._checkpoints import checkpoints, load_checkpoint, save_checkpoint
from ._config import TransformerConfig, require
from ._errors import CheckpointError
from ._logging import CsvLogger, Logger, Progress
from ._metrics import top1
from ._model import Transformer
from ._objectives import LeJepa, LeJepaConfig, Supervised, SupervisedConfig
from ._optimizer import OptimizerConfig
from ._pipeline import Batches, DataConfig, one_pass
from ._pixio import Pixio, PixioConfig
from ._probes import LinearProbe, online_probe, pool
from ._step import Objective, State, StepConfig, eval_step, init_state, train_step

ObjectiveConfig = SupervisedConfig | LeJepaConfig | PixioConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole run.

    Attributes:
        encoder: Hyperparameters of the encoder.
        objective: What it is trained for.
        n_classes: Classes of the online probe.
        optimizer: How weights change, and for how many steps.
        step: What a step does beside.
        data: How recordings become batches.
        eval_every: Steps between evaluations; the last step is evaluated in any case.
        save_every: Steps between checkpoints; the last step is saved in any case.
        keep: Checkpoints that stay.
        orbax: Whether checkpoints are Orbax's.
    """

    encoder: TransformerConfig
    objective: ObjectiveConfig
    n_classes: int
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    step: StepConfig = dataclasses.field(default_factory=StepConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    eval_every: int = 1000
    save_every: int = 500
    keep: int = 5
    orbax: bool = False

    def __post_init__(self) -> None:
        require(
            self.eval_every >= 1 and self.save_every >= 1 and self.keep >= 1,
            "TrainConfig: eval_every, save_every and keep must be at least 1.",
        )
        views = self.objective.n_views if isinstance(self.objective, LeJepaConfig) else 0
        require(
            self.data.n_views == views,
            f"TrainConfig: {type(self.objective).__name__} needs data.n_views = {views}, not {self.data.n_views}.",
        )

    def as_json(self) -> dict[str, Any]:
        """Settings that must not change for a run to continue: all but how often it is evaluated, saved, read ahead."""
        found = dataclasses.asdict(self)
        for name in ("eval_every", "save_every", "keep", "orbax"):
            del found[name]
        found["objective"]["kind"] = type(self.objective).__name__
        found["data"]["augmentations"] = [_described(one) for one in self.data.augmentations]
        return found


def _described(augmentation: Augmentation) -> str:
    return repr(augmentation)


def first_state(config: TrainConfig) -> State:
    """The state of a run before its first step; equal seeds give equal states."""
    models = _first_models(config.encoder, config.objective, config.n_classes, config.step.seed)
    return init_state(*models, config.optimizer, config.step)


@eqx.filter_jit
def _first_models(
    encoder_config: TransformerConfig, objective_config: ObjectiveConfig, n_classes: int, seed: int
) -> tuple[Transformer, Objective, LinearProbe]:
    """Encoder, objective and probe with random weights, compiled once for all runs that differ in other settings."""
    encoder_key, objective_key, probe_key = jax.random.split(jax.random.key(seed), 3)
    encoder = Transformer(encoder_config, key=encoder_key)
    objective: Objective
    if isinstance(objective_config, SupervisedConfig):
        objective = Supervised(objective_config, encoder, key=objective_key)
    elif isinstance(objective_config, LeJepaConfig):
        objective = LeJepa(objective_config, encoder, key=objective_key)
    else:
        objective = Pixio(objective_config, encoder, key=objective_key)
    return encoder, objective, online_probe(encoder_config.embed_dim, n_classes, key=probe_key)


@eqx.filter_jit(donate="all-except-first")
def _compiled_step(
    batch: Mapping[str, jax.Array], state: State, optimizer: OptimizerConfig, config: StepConfig
) -> tuple[State, dict[str, jax.Array]]:
    return train_step(state, batch, optimizer, config)


def data_mesh() -> Mesh:
    """All devices of all processes along one axis, `batch`."""
    return Mesh(np.array(jax.devices()), ("batch",))


def train(
    config: TrainConfig,
    source: Any,
    folder: Path,
    *,
    held_out: Any = None,
    loggers: Sequence[Logger] = (),
    quiet: bool = False,
) -> State:
    """Train an encoder, or continue a run of the same configuration from its last checkpoint.

    The batch is spread over all devices of all processes, the weights are on each of them.

    Args:
        config: The run.
        source: Recordings with a length and random access.
        folder: Where checkpoints and `metrics.csv` go.
        held_out: Recordings to evaluate on.
        loggers: Where numbers go beside the CSV file and the progress bar.
        quiet: Whether to show no progress bar.

    Returns:
        The state after the last step.

    Raises:
        CheckpointError: If the folder holds a run of another configuration.
        ConfigError: If the devices cannot share a batch.
    """
    mesh = data_mesh()
    require(
        config.data.batch_size % mesh.size == 0,
        f"train: {mesh.size} devices cannot share batches of {config.data.batch_size}.",
    )
    replicated, sharded = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
    process, processes = jax.process_index(), jax.process_count()
    batches = Batches(source, config.data, process=process, processes=processes)
    state = first_state(config)
    written = config.as_json()
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoints(folder)
    if found:
        state, places = load_checkpoint(found[-1], state, written)
        if len(places) != processes:
            raise CheckpointError(f"{found[-1]} is of {len(places)} processes, not of {processes}.")
        batches.set_state(places[process])
    first = int(state.step)
    state = jax.tree.map(lambda leaf: _put(leaf, replicated), state)

    total = config.optimizer.n_steps
    leader = process == 0
    with contextlib.ExitStack() as stack:
        stack.callback(batches.close)
        outputs: list[Logger] = [stack.enter_context(Progress(total, first=first, quiet=quiet or not leader))]
        if leader:
            outputs += [*loggers, CsvLogger(folder / "metrics.csv", first=first)]
        for output in outputs:
            stack.callback(output.close)
        for number in range(first, total):
            began = time.perf_counter()
            batch = {name: _share(array, sharded) for name, array in next(batches).items()}
            # A batch that is still on its way while its buffers are used again has corrupted others.
            jax.block_until_ready(batch)
            loaded = time.perf_counter()
            state, metrics = _compiled_step(batch, state, config.optimizer, config.step)
            scalars = {name: float(value) for name, value in metrics.items()}
            done = number + 1
            times = {"dataloader/sec_per_batch": loaded - began, "train/sec_per_step": time.perf_counter() - began}
            for output in outputs:
                output.log(number, scalars | times)
            if held_out is not None and (done % config.eval_every == 0 or done == total) and leader:
                scores = {f"test/{name}": value for name, value in evaluate(config, state, held_out).items()}
                for output in outputs:
                    output.log(number, scores)
            if done % config.save_every == 0 or done == total:
                places = _of_all_processes(batches.get_state())
                if leader:
                    save_checkpoint(folder, state, config=written, data=places, keep=config.keep, orbax=config.orbax)
    return state


def evaluate(config: TrainConfig, state: State, source: Any) -> dict[str, float]:
    """Losses and top-1 accuracy of the online probe on recordings, each once.

    Returns:
        `acc`, `loss` of the probe, the objective's losses where it takes single spectrograms, and `corrupt`, how many
        recordings could not be read.
    """
    local = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)
    objective, found = local.objective, []
    if isinstance(objective, LeJepa):  # views cannot be told apart without crops: the losses need none
        objective = None
    size, corrupt = config.data.batch_size, 0
    for batch, unreadable in one_pass(source, config.data):
        count = len(batch["target"])
        corrupt += len(unreadable)
        filled = {name: np.resize(array, (size, *array.shape[1:])) for name, array in batch.items()}
        losses, _, logits = _evaluate_batch(local, filled, config.step, objective is None)
        found.append((count, np.asarray(logits)[:count], batch["target"], {k: float(v) for k, v in losses.items()}))
    logits, target = (np.concatenate([each[place] for each in found]) for place in (1, 2))
    shifted = logits - logits.max(axis=1, keepdims=True)
    likelihood = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    labelled = target >= 0
    result = {
        "acc": top1(logits[labelled], target[labelled]),
        "loss": float(-likelihood[labelled, target[labelled]].mean()),
        "corrupt": float(corrupt),
    }
    for name in found[0][3]:
        if name != "probe":
            result[name] = float(np.average([each[3][name] for each in found], weights=[each[0] for each in found]))
    return result


@eqx.filter_jit
def _evaluate_batch(state: State, batch: Any, config: StepConfig, embed_only: bool) -> Any:
    if embed_only:
        encoder = state.encoder if state.ema is None else state.ema
        output = encoder.encode(batch["data"])
        embeddings = pool(output, config.probe_pooling)
        return {}, embeddings, jax.vmap(state.probe)(embeddings)
    return eval_step(state, batch, config)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, sharding, lambda place: array[place])


def _share(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    shared: jax.Array = jax.make_array_from_process_local_data(sharding, array)
    return shared


def _of_all_processes(text: str) -> list[str]:
    """The text of each process, on each of them."""
    if jax.process_count() == 1:
        return [text]
    encoded = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array(len(encoded)))
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(encoded)] = encoded
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]
