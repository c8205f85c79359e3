"""Checkpoints of a run: whole or not there at all, with the configuration checked before anything is loaded."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ._config import TransformerConfig
from ._errors import CheckpointError
from ._model import Transformer
from ._step import State

_STEP = re.compile(r"step_(\d{8})")
_REMEDY = "It is damaged: copy it again, or go back to an earlier step of the run."


def save_checkpoint(
    folder: Path, state: State, *, config: Mapping[str, Any], data: list[str], keep: int = 5, orbax: bool = False
) -> Path:
    """Write a checkpoint `step_XXXXXXXX`; a process that dies on the way leaves those before as they were.

    Args:
        folder: The folder of the run.
        state: The state.
        config: The configuration of the run, as JSON has it; a run with another one will not continue from here.
        data: Where the iterator over the data stands, in each process.
        keep: How many checkpoints stay; older ones are removed.
        orbax: Whether to write arrays by Orbax (the extra `orbax`) instead of Equinox.

    Returns:
        The checkpoint's folder.
    """
    step = int(state.step)
    final = folder / f"step_{step:08}"
    temporary = folder / f".step_{step:08}.{os.getpid()}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    # As NumPy arrays: replicated arrays on several devices have come back from Orbax scaled by sqrt(devices).
    host = jax.tree.map(np.asarray, state)
    if orbax:
        _orbax().save((temporary / "state").absolute(), {"leaves": jax.tree.leaves(host)})
    else:
        _write(temporary / "state.eqx", host)
    _write(temporary / "encoder.eqx", host.encoder if host.ema is None else host.ema)
    metadata = {
        "step": step,
        "config": config,
        "encoder": dataclasses.asdict(state.encoder.config),
        "format": "orbax" if orbax else "equinox",
        "data": data,
    }
    _write_text(temporary / "metadata.json", json.dumps(metadata, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _sync(folder)
    for path in checkpoints(folder)[:-keep]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".step_*.part"):  # of processes that died
        shutil.rmtree(path, ignore_errors=True)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    return sorted(path for path in folder.glob("step_*") if _STEP.fullmatch(path.name))


def load_checkpoint(path: Path, like: State, config: Mapping[str, Any]) -> tuple[State, list[str]]:
    """Read a checkpoint.

    Args:
        path: Its folder.
        like: A state of the same structure; its arrays may be abstract.
        config: The configuration of the run.

    Returns:
        The state, and where the iterator over the data stood, in each process.

    Raises:
        CheckpointError: If it cannot be read, or belongs to a run with another configuration.
    """
    metadata = _metadata(path)
    if lost := {"config", "format", "data"} - metadata.keys():
        raise CheckpointError(f"{path / 'metadata.json'} lacks {', '.join(sorted(lost))}. {_REMEDY}")
    if differences := _differences(metadata["config"], json.loads(json.dumps(config))):
        raise CheckpointError(f"{path} belongs to a run with another configuration: {'; '.join(differences)}.")
    if metadata["format"] == "orbax":
        leaves, structure = jax.tree.flatten(like)
        wanted = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
        found = _orbax().restore((path / "state").absolute(), {"leaves": wanted})["leaves"]
        state: State = jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in found])
    else:
        state = _read(path / "state.eqx", like)
    return state, metadata["data"]


def load_encoder(path: str | os.PathLike[str]) -> Transformer:
    """The encoder alone of a checkpoint, or of the last checkpoint of a run; nothing else is read.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    folder = Path(path)
    if not (folder / "metadata.json").is_file():
        found = checkpoints(folder)
        if not found:
            raise CheckpointError(f"{folder} is neither a checkpoint nor a run with one.")
        folder = found[-1]
    try:
        config = TransformerConfig(**_metadata(folder)["encoder"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'metadata.json'} describes no encoder: {error!r}. {_REMEDY}") from error
    skeleton = eqx.filter_eval_shape(Transformer, config, key=jax.random.key(0))
    encoder: Transformer = _read(folder / "encoder.eqx", skeleton)
    return encoder


def _differences(found: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name in sorted({*found, *given}):
        old, new = found.get(name), given.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name} is {old!r} there and {new!r} here")
    return lines


def _metadata(path: Path) -> dict[str, Any]:
    file = path / "metadata.json"
    try:
        metadata = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read as a checkpoint's settings: {error}. {_REMEDY}") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{file} cannot be read as a checkpoint's settings: they are no table. {_REMEDY}")
    return metadata


def _write(path: Path, tree: Any) -> None:
    with path.open("wb") as file:
        eqx.tree_serialise_leaves(file, tree)
        file.flush()
        os.fsync(file.fileno())


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name == "posix":  # the renaming itself must reach the disk
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _read(path: Path, like: Any) -> Any:
    try:
        with path.open("rb") as file:
            return eqx.tree_deserialise_leaves(file, like)
    except Exception as error:  # NumPy's reader raises errors of many kinds, of its parser too
        raise CheckpointError(f"{path} cannot be read: {str(error) or type(error).__name__}. {_REMEDY}") from error


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise CheckpointError("This needs Orbax: pip install 'j2o-examples-birdjepa[orbax]'.") from error
    return orbax.checkpoint.PyTreeCheckpointer()
