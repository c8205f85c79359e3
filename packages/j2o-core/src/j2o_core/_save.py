"""Save: write a model so that a crash at any moment leaves the old file whole.

A model with its weights beside it is two files, and no file system replaces two files at once. So the data file's name
carries a digest of its content: a new one never takes the place of one that the old model still needs. It is written
first, then the model file is replaced, and only then are data files removed that no model here uses any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import onnx_ir as ir

from ._errors import SaveError
from ._model_file import pieces, write_model

# Protobuf cannot hold more than 2 GB; above this the weights go into a file of their own.
EMBED_LIMIT_BYTES = 1_500_000_000

WEIGHTS = ("data", "safetensors")

# Runtimes map large weights into memory, which works by pages, and small ones like cache lines.
_PAGE, _LINE, _LARGE = 4096, 64, 1 << 20

# Nameless constants up to this size stay in the model file.
_INSIDE_BYTES = 1024

_SAFETENSORS = {
    "BOOL": "BOOL",
    "INT8": "I8",
    "INT16": "I16",
    "INT32": "I32",
    "INT64": "I64",
    "UINT8": "U8",
    "UINT16": "U16",
    "UINT32": "U32",
    "UINT64": "U64",
    "FLOAT16": "F16",
    "BFLOAT16": "BF16",
    "FLOAT": "F32",
    "DOUBLE": "F64",
    "FLOAT8E4M3FN": "F8_E4M3",
    "FLOAT8E5M2": "F8_E5M2",
}


def weight_bytes(model: ir.Model) -> int:
    """Size of all initializers."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def save(
    model: ir.Model, path: str | os.PathLike[str], *, external_data: bool | None = None, weights: str | None = None
) -> list[str]:
    """Write `model` to `path`, with external data also `<path>.<digest>.data` (or `.safetensors`) beside it.

    Saving the same model twice gives the same bytes. A data file that the old model used and the new one does not is
    removed at the end.

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
    target = os.path.abspath(os.fspath(path))
    folder, _ = os.path.split(target)
    if weights is not None and weights not in WEIGHTS:
        raise SaveError(f"weights is {weights!r}. Expected one of {', '.join(map(repr, WEIGHTS))}.")
    if weights is not None and external_data is False:
        raise SaveError(
            f"weights={weights!r} asks for a file of weights, external_data=False for none. Give one of them."
        )
    if os.path.isdir(target):
        raise SaveError(f"Cannot save to {target}: it is a folder. Give the path of the file to write.")
    if not os.path.isdir(folder):
        raise SaveError(f"Cannot save to {target}: the folder {folder} does not exist. Create it first.")
    if external_data is None:
        external_data = weights is not None or weight_bytes(model) >= EMBED_LIMIT_BYTES
    token = f".{secrets.token_hex(4)}.tmp"
    written: list[str] = []
    try:
        with _removed_on_error(written):
            data_name = None
            if external_data:
                data_name = _write_with_weights(model, target, token, weights or "data", written)
            else:
                _write_model(model, target + token, written)
            os.replace(target + token, target)
            written.clear()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaveError(f"Cannot save to {target}: {reason}. Nothing was changed there.") from error
    _sync_folder(folder)
    _remove_data_files(target, keep=data_name)
    return [target, *([os.path.join(folder, data_name)] if data_name is not None else [])]


def _write_with_weights(model: ir.Model, target: str, token: str, weights: str, written: list[str]) -> str:
    """Write both files, move the data file into place and return its name; the model still has to be moved."""
    folder, name = os.path.split(target)
    data_written = f"{target}.data{token}"
    values = [value for value in model.graph.initializers.values() if not _stays_inside(value)]
    tensors = [value.const_value for value in values]
    with _new_file(data_written, written) as file:
        offsets, digest = _WRITERS[weights](file, tensors)
    data_name = f"{name}.{digest}.{weights}"
    try:
        for value, tensor, offset in zip(values, tensors, offsets, strict=True):
            assert tensor is not None
            value.const_value = ir.ExternalTensor(
                data_name,
                offset,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
                base_dir=folder,
            )
        _write_model(model, target + token, written)
    finally:
        for value, tensor in zip(values, tensors, strict=True):
            value.const_value = tensor
    data_target = os.path.join(folder, data_name)
    was_there = os.path.exists(data_target)
    os.replace(data_written, data_target)
    if not was_there:  # else the old model may be using it, and it is the same
        written.append(data_target)
    return data_name


def _stays_inside(value: ir.Value) -> bool:
    """Shapes, axes and scalars, which readers of the graph want to see, and what has no bytes at all."""
    tensor = value.const_value
    if tensor is None or tensor.nbytes == 0:
        return True
    return tensor.nbytes <= _INSIDE_BYTES and "j2o_name" not in value.meta


class _Digesting:
    """Writes to a file, and knows the position and a digest of everything written."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._digest = hashlib.blake2b(digest_size=8)
        self.position = 0

    def write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.position += len(content)

    def tensor(self, tensor: Any) -> None:
        for piece in pieces(tensor):
            self.write(piece)

    def align(self, nbytes: int) -> None:
        step = _PAGE if nbytes >= _LARGE else _LINE
        self.write(b"\0" * (-self.position % step))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _write_data(file: BinaryIO, tensors: Sequence[Any]) -> tuple[list[int], str]:
    """Weights one after the other; the offset of each, and the digest."""
    out = _Digesting(file)
    offsets = []
    for tensor in tensors:
        out.align(tensor.nbytes)
        offsets.append(out.position)
        out.tensor(tensor)
    return offsets, out.hexdigest()


def _write_safetensors(file: BinaryIO, tensors: Sequence[Any]) -> tuple[list[int], str]:
    """The same as a safetensors file: a header that says where each weight is, then the weights without gaps."""
    # The widest first keeps every weight aligned to its elements.
    order = sorted(range(len(tensors)), key=lambda i: (-tensors[i].dtype.bitwidth, tensors[i].name))
    header: dict[str, Any] = {}
    starts, position = {}, 0
    for index in order:
        tensor = tensors[index]
        dtype = _SAFETENSORS.get(tensor.dtype.name)
        if dtype is None:
            raise SaveError(
                f"The weight {tensor.name!r} has dtype {tensor.dtype.name.lower()}, which safetensors does not have. "
                f'Save with weights="data".'
            )
        end = position + tensor.nbytes
        header[tensor.name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        starts[index], position = position, end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _LINE)
    out = _Digesting(file)
    out.write(len(text).to_bytes(8, "little"))
    out.write(text)
    begin = out.position
    for index in order:
        out.tensor(tensors[index])
    return [begin + starts[index] for index in range(len(tensors))], out.hexdigest()


_WRITERS = {"data": _write_data, "safetensors": _write_safetensors}


@contextlib.contextmanager
def _removed_on_error(paths: list[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                os.remove(path)
        raise


@contextlib.contextmanager
def _new_file(path: str, written: list[str]) -> Iterator[BinaryIO]:
    """A file that is on the disk when the block is left."""
    with open(path, "wb") as file:
        written.append(path)
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_model(model: ir.Model, path: str, written: list[str]) -> None:
    with _new_file(path, written) as file:
        write_model(file, model)


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


def _remove_data_files(target: str, keep: str | None) -> None:
    """Remove data files of earlier saves to `target`. One that cannot be removed does no harm and stays."""
    folder, name = os.path.split(target)
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{16}\.(data|safetensors)")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if entry != keep and pattern.fullmatch(entry):
                os.remove(os.path.join(folder, entry))
