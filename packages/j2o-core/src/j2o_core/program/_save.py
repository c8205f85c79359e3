"""Save: write a model so that a crash at any moment leaves the old file whole, and the last of several savers wins.

A model with its weights beside it is two files, and no file system replaces two files at once. So the data file's name
carries a digest of its content: a new one never takes the place of one that the old model still needs. It is moved into
place first, then the model file, and only then are the data files removed that the replaced model named.
"""

from __future__ import annotations

import contextlib
import os

import onnx_ir as ir

from .._errors import SaveError
from ..graph._kept import WEIGHT, check_values
from ._digests import DIGEST
from ._model_file import write_model
from ._model_view import model_view
from ._save_turn import TemporaryFiles, turn
from ._weights_file import WRITERS

# Protobuf cannot hold more than 2 GB; above this the weights go into a file of their own.
EMBED_LIMIT_BYTES = 1_500_000_000

WEIGHTS = ("data", "safetensors")

# Nameless constants up to this size stay in the model file.
_INSIDE_BYTES = 1024


def weight_bytes(model: ir.Model) -> int:
    """Size of all initializers."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def save(
    model: ir.Model, path: str | os.PathLike[str], *, external_data: bool | None = None, weights: str | None = None
) -> list[str]:
    """Write `model` to `path`, with external data also `<path>.<digest>.data` (or `.safetensors`) beside it.

    Saving the same model twice gives the same bytes. Each weight has a digest, which `j2o check` compares. A data file
    that the old model used and the new one does not is removed at the end.

    Args:
        model: the model; it is not changed.
        path: the `.onnx` file.
        external_data: whether the weights go into a file of their own; by default if they are too large for one file.
        weights: the form of that file, `"data"` or `"safetensors"`. Naming one asks for external data.

    Returns:
        The files that were written: the model, and its weights if they are outside.

    Raises:
        SaveError: if the folder is missing, not writable or full; what was at `path` is still there and whole.
    """
    if weights is not None and weights not in WEIGHTS:
        raise SaveError(f"weights is {weights!r}. Expected one of {', '.join(map(repr, WEIGHTS))}.")
    if weights is not None and external_data is False:
        raise SaveError(
            f"weights={weights!r} asks for a file of weights, external_data=False for none. Give one of them."
        )
    if external_data is None:
        external_data = weights is not None or weight_bytes(model) >= EMBED_LIMIT_BYTES
    check_values(model, "The program cannot be saved", SaveError)
    target = _target(path, named_in_model=external_data)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise SaveError(f"Cannot save to {target}: it is a folder. Give the path of the file to write.")
    if is_special(target):
        raise SaveError(f"Cannot save to {target}: it is a device or a pipe, which a file would replace. Give another.")
    if not os.path.isdir(folder):
        raise SaveError(f"Cannot save to {target}: the folder {folder} does not exist. Create it first.")
    files = TemporaryFiles(target)
    try:
        data_name = _write_and_move(model, target, files, (weights or "data") if external_data else None)
    except OSError as error:
        if isinstance(error, SaveError):
            raise
        reason = error.strerror or str(error)
        raise SaveError(f"Cannot save to {target}: {reason}. Nothing was changed there.") from error
    finally:
        files.remove()
    return [target, *([os.path.join(folder, data_name)] if data_name is not None else [])]


def _write_and_move(model: ir.Model, target: str, files: TemporaryFiles, weights: str | None) -> str | None:
    """Write the model, and its weights to a file of their own if these have a form; return that file's name."""
    folder = os.path.dirname(target)
    if weights is None:
        with files.new() as (file, model_path):
            write_model(file, model)
        with turn(target):
            files.move(model_path, target)
            _sync_folder(folder)
        return None
    values = [value for value in model.graph.initializers.values() if not _stays_inside(value)]
    tensors = [value.const_value for value in values]
    with files.new() as (file, data_path):
        placed = WRITERS[weights](file, tensors)
    with turn(target) as mine:
        data_name = mine.data_name(placed.digest, weights)
        places = {
            str(value.name): ir.ExternalTensor(
                data_name,
                offset,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
                base_dir=folder,
                metadata_props={**tensor.metadata_props, DIGEST: digest},
            )
            for value, tensor, offset, digest in zip(values, tensors, placed.offsets, placed.digests, strict=True)
            if tensor is not None
        }
        with files.new() as (file, model_path):
            write_model(file, model_view(model, tensors=places))
        files.move(data_path, os.path.join(folder, data_name))
        files.move(model_path, target)
        _sync_folder(folder)
    return data_name


def _target(path: str | os.PathLike[str], *, named_in_model: bool) -> str:
    """The absolute path. Data files are named after it in the model, whose text is UTF-8."""
    try:
        target = os.path.abspath(os.fsdecode(path))
        os.fsencode(target)
        if named_in_model:
            os.path.basename(target).encode()
    except (TypeError, UnicodeError) as error:
        raise SaveError(f"Cannot save to {path!r}: {error}. Give the path of a file as text.") from error
    if "\0" in target:
        raise SaveError(f"Cannot save to {path!r}: no file's name has a null character. Leave it out.")
    return target


def is_special(path: str) -> bool:
    """Whether a path is that of a device or a pipe, or a link to an open file, such as /dev/stdout."""
    opened = os.path.islink(path) and os.readlink(path).startswith("/proc/")
    return opened or (os.path.exists(path) and not os.path.isfile(path))


def _stays_inside(value: ir.Value) -> bool:
    """Shapes, axes and scalars, which readers of the graph want to see, and what has no bytes at all."""
    tensor = value.const_value
    if tensor is None or tensor.nbytes == 0:
        return True
    named = "j2o_name" in value.meta or WEIGHT in tensor.metadata_props  # the latter in a file that was read
    return tensor.nbytes <= _INSIDE_BYTES and not named


def _sync_folder(folder: str) -> None:
    """Make the new names last; where folders cannot be synchronised, the file system decides."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
