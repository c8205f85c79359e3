"""Loading and saving weights in whatever layout and container they come."""

import contextlib
import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ._build import Model
from ._config import DinoConfig
from ._damage import check_sha256, checkpoint_error, in_bytes, read_as, read_record, reading, unpacked_limit
from ._equimo_archive import read_equimo_archive, write_equimo_archive
from ._eqx_file import read_eqx, write_eqx
from ._errors import CheckpointError
from ._hf_layout import hf_to_published, is_hf_layout, published_to_hf
from ._safetensors_file import map_safetensors, write_safetensors
from ._scratch import Scratch
from ._state_dict import from_state_dict, state_dict
from ._torch_file import read_torch_file
from ._variants import AnyConfig

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_EQUIMO_FILES = ("metadata.json", "weights.eqx")
_SHARDS = "Copy or download the whole folder again: an index and its files belong together."

# Fields of configurations that are a choice of the user, whatever the checkpoint says.
_CHOICES = ("rope_periods", "resize_mode", "resize_antialias", "resize_offset")


def _weight_map(index: Path) -> dict[str, str]:
    """Which file beside an index holds each tensor."""
    with read_as(index, "an index of safetensors files"), reading("its weight_map"):
        weight_map = dict(json.loads(index.read_text("utf-8"))["weight_map"])
        shards = sorted(set(weight_map.values()))
        present = {shard: isinstance(shard, str) and (index.parent / shard).is_file() for shard in shards}
    if "" in weight_map:
        problem = f"{index} lists a tensor without a name in its weight_map."
        raise checkpoint_error(problem, index, "weight_map", _SHARDS)
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or shard == "..":
            problem = f"{index} refers to {shard!r} in its weight_map, but only files beside it may be read."
            raise checkpoint_error(problem, index, "weight_map", _SHARDS)
        if not present[shard]:
            problem = f"{index} refers to {shard} in its weight_map, which is not there."
            raise checkpoint_error(problem, index, "weight_map", _SHARDS)
    return weight_map


def _read_sharded(index: Path) -> dict[str, np.ndarray]:
    weight_map = _weight_map(index)
    tensors: dict[str, np.ndarray] = {}
    for shard in sorted(set(weight_map.values())):
        content = map_safetensors(index.parent / shard)
        tensors.update({name: content[name] for name, file in weight_map.items() if file == shard and name in content})
    lost = [name for name in weight_map if name not in tensors]
    if lost:
        problem = f"{index} lists {len(lost)} tensors that its files do not hold, the first is {lost[0]}."
        raise checkpoint_error(problem, index, str(lost[0]), _SHARDS)
    return tensors


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    tensors = {}
    with read_as(path, "an .npz file"), contextlib.ExitStack() as stack:
        with reading("the directory of the archive, at its end"):
            archive = stack.enter_context(zipfile.ZipFile(path))
        limit = unpacked_limit(path)
        for info in archive.infolist():
            end = info.header_offset + info.compress_size
            with reading(in_bytes(f"the entry {info.filename!r}", info.header_offset, end)):
                limit -= info.file_size
                if limit < 0:
                    raise ValueError(f"it has {info.file_size} bytes, which no file of this size holds")
                with archive.open(info) as file:
                    record = read_record(file, info.filename)
                    if record is None or file.read(1):
                        raise ValueError("it is not one .npy record")
            tensors[info.filename.removesuffix(".npy")] = record
    return tensors


def _check_digests(path: Path, wanted: str | Mapping[str, str]) -> None:
    """Compare what is read of a checkpoint with published digests: one of a file, or one of each file by its name."""
    if isinstance(wanted, str):
        check_sha256(path, wanted)
        return
    folder = path if path.is_dir() else path.parent
    files = [folder / name for name in _EQUIMO_FILES if (path / name).is_file()]
    if not files:
        files = [path / name for name in (_INDEX, _SINGLE) if (path / name).is_file()][:1] or [path]

    def check(file: Path) -> None:
        if file.name not in wanted:
            given = ", ".join(wanted) or "none"
            raise CheckpointError(
                f"sha256 has no digest of {file.name}, which {path} consists of, only of: {given}. Give one of each."
            )
        check_sha256(file, wanted[file.name])

    for file in files:
        check(file)
        if file.suffix == ".json" and file.name not in _EQUIMO_FILES:
            for shard in sorted(set(_weight_map(file).values())):  # the index is the published one by now
                check(folder / shard)


def _read(path: Path) -> tuple[Mapping[str, np.ndarray], AnyConfig | None]:
    """The tensors of a file or folder, and the configuration where it says so itself."""
    with read_as(path, "a file"):
        exists = path.exists()
    if not exists:
        raise CheckpointError(f"{path} does not exist.")
    if path.is_dir():
        if (path / _EQUIMO_FILES[1]).is_file():
            return read_equimo_archive(path)
        for name, reader in ((_INDEX, _read_sharded), (_SINGLE, map_safetensors)):
            if (path / name).is_file():
                return reader(path / name), None
        raise CheckpointError(f"{path} is a folder without {_SINGLE}, {_INDEX} or weights.eqx.")
    if not path.is_file():
        raise CheckpointError(f"{path} is a pipe or a device. Give a file, or a folder of files.")
    if path.name.endswith(".tar.lz4"):
        return read_equimo_archive(path)
    if path.suffix == ".eqx":
        return read_eqx(path)
    readers = {
        ".pth": read_torch_file,
        ".pt": read_torch_file,
        ".safetensors": map_safetensors,
        ".npz": _read_npz,
        ".json": _read_sharded,
    }
    if path.suffix not in readers:
        raise CheckpointError(
            f"{path}: a checkpoint ends in {', '.join(readers)}, .eqx or .tar.lz4, or is a folder, but not "
            f"{path.suffix!r}."
        )
    return readers[path.suffix](path), None


def _differences(given: AnyConfig, found: AnyConfig) -> list[str]:
    if type(given) is not type(found):
        return [f"its configuration is a {type(found).__name__} instead of a {type(given).__name__}"]
    # The initial layer scale is gone after training, and the hidden width is compared instead of what it follows from.
    ignored = {*_CHOICES, "layer_scale_init", "ffn_ratio", "ffn_align"}
    names = [field.name for field in dataclasses.fields(given) if field.name not in ignored]
    names += ["hidden"] if hasattr(given, "hidden") else []
    return [
        f"{name} is {getattr(found, name)!r} instead of {getattr(given, name)!r}"
        for name in names
        if getattr(given, name) != getattr(found, name)
    ]


def _chosen(given: AnyConfig | None, found: AnyConfig) -> AnyConfig:
    """The settings in a checkpoint, with those that the user chose for it."""
    choices: dict[str, Any] = {name: getattr(given, name) for name in _CHOICES if hasattr(given, name)}
    return dataclasses.replace(found, **choices)


def load(
    path: str | os.PathLike[str],
    config: AnyConfig | None = None,
    *,
    dtype: DTypeLike | None = jnp.float32,
    drop_zero_bias: bool = False,
    scratch: str | os.PathLike[str] | None = None,
    sha256: str | Mapping[str, str] | None = None,
) -> Model:
    """Load a model from a checkpoint.

    Args:
        path: A published state dict (`.pth`, read without PyTorch, `.safetensors` or `.npz`), a Hugging Face checkpoint
            (`.safetensors`, its index `.json`, or the folder), an Equimo archive (`.tar.lz4` or the folder), or an
            `.eqx` file that `save` wrote.
        config: What the checkpoint is a checkpoint of, for instance `variant("vits16")`. Only Equimo archives and
            `.eqx` files say so themselves; if it is given nevertheless, the two must agree.
        dtype: Dtype of the weights, or None for the one they are stored in.
        drop_zero_bias: Whether to leave out the bias of the query, key and value projections where it is zero
            throughout, as it is in the published files.
        scratch: A folder. If given, large weights stay on the disk: leaves are read-only views of the mapped
            checkpoint, or where a dtype is cast or projections are joined, of a nameless temporary file in this folder.
        sha256: The digest that the file must have, or its first digits, at least eight, as the names of Meta's files
            have them; for a folder or an index, the digest of each file by its name, as hubs list them. Without it,
            what is checked are the checksums of the format: `.pth`, `.npz` and the `.safetensors` files and archives
            that `save` writes have some.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or does not fit the configuration to the last key.
    """
    path = Path(path)
    if sha256 is not None:
        _check_digests(path, sha256)
    tensors, found = _read(path)
    if found is not None:
        if config is not None and (differences := _differences(config, found)):
            problem = f"{path} holds another model than asked for: {'; '.join(differences)}, say its settings."
            raise checkpoint_error(problem, path, "its settings", "Give the configuration of the file, or none.")
        config = _chosen(config, found)
    elif config is None:
        raise CheckpointError(
            f"{path} does not say what model it is of: give a configuration, such as variant('vits16')."
        )
    mapped = None if scratch is None else Scratch(scratch)
    if is_hf_layout(set(tensors)):
        with read_as(path, "a checkpoint in Hugging Face's layout"):
            tensors = hf_to_published(tensors, mapped.join if mapped else np.concatenate)
        if isinstance(config, DinoConfig):  # that layout leaves the norm for local crops out
            config = dataclasses.replace(config, local_cls_norm=False)
    return from_state_dict(
        tensors, config, dtype=dtype, drop_zero_bias=drop_zero_bias, source=str(path), scratch=mapped
    )


def save(path: str | os.PathLike[str], model: Model, *, layout: Literal["published", "hf"] = "published") -> None:
    """Save a model. What was at the path is replaced only when the new one is complete.

    Args:
        path: What to write: a `.safetensors` file; an `.eqx` file, which Equinox reads; or an archive for Equimo,
            `.tar.lz4`, or without a suffix the folder.
        model: The model.
        layout: Key names and shapes of a `.safetensors` file: those of the published `.pth` files, or Hugging Face's.

    Raises:
        CheckpointError: If the path ends in anything else, or the layout cannot hold the model.
        PathError: If it cannot be written.
    """
    path = Path(path)
    if layout == "hf" and path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: Hugging Face's layout is written as .safetensors, but not as {path.suffix!r}.")
    if path.suffix == ".safetensors":
        tensors = state_dict(model)
        if layout == "hf":
            tensors = published_to_hf(tensors)
        write_safetensors(path, tensors)
    elif path.suffix == ".eqx":
        write_eqx(path, model)
    elif path.name.endswith(".tar.lz4") or not path.suffix:
        write_equimo_archive(path, model)
    else:
        raise CheckpointError(
            f"{path}: checkpoints are written as .safetensors, .eqx, .tar.lz4 or a folder, but not as {path.suffix!r}."
        )
