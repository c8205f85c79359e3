"""Save: write a model so that a crash leaves the old file whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from ._errors import SaveError

# Protobuf cannot hold more than 2 GB; above this the weights go into a file of their own.
EMBED_LIMIT_BYTES = 1_500_000_000


def weight_bytes(model: ir.Model) -> int:
    """Size of all initializers."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def save(model: ir.Model, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
    """Write `model` to `path`; with external data also `<path>.data`, its weights.

    The files are written beside the target under other names and moved into place when they are whole. Saving the same
    model twice gives the same bytes. A data file that the new model does not use is removed.

    Raises:
        SaveError: if the folder is missing, not writable or full; what was at `path` is still there.
    """
    target = os.path.abspath(os.fspath(path))
    folder, name = os.path.split(target)
    if os.path.isdir(target):
        raise SaveError(f"Cannot save to {target}: it is a folder. Give the path of the file to write.")
    if not os.path.isdir(folder):
        raise SaveError(f"Cannot save to {target}: the folder {folder} does not exist. Create it first.")
    external = weight_bytes(model) >= EMBED_LIMIT_BYTES if external_data is None else external_data
    token = f".{secrets.token_hex(4)}.tmp"
    written = target + token
    data_name = f"{name}.data"
    data_target, data_written = os.path.join(folder, data_name), os.path.join(folder, data_name + token)
    try:
        with _removed_on_error(written, data_written):
            if external:
                _write_external(model, written, data_name, data_written)
            else:
                _write_file(written, ir.serde.serialize_model(model).SerializeToString(deterministic=True))
            if external:
                os.replace(data_written, data_target)
            os.replace(written, target)
            if not external and os.path.exists(data_target):
                os.remove(data_target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaveError(f"Cannot save to {target}: {reason}. Nothing was changed there.") from error


@contextlib.contextmanager
def _removed_on_error(*paths: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                os.remove(path)
        raise


def _write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_external(model: ir.Model, path: str, data_name: str, data_written: str) -> None:
    """Weights one after the other into the data file, then the model that points into it."""
    values = list(model.graph.initializers.values())
    tensors = [value.const_value for value in values]
    offset = 0
    pointers: list[Any] = []
    with open(data_written, "wb") as file:
        for value, tensor in zip(values, tensors, strict=True):
            assert tensor is not None
            assert value.name is not None
            if hasattr(tensor, "tofile"):
                tensor.tofile(file)
            else:
                file.write(tensor.tobytes())
            length = file.tell() - offset
            pointers.append(
                ir.ExternalTensor(
                    data_name,
                    offset,
                    length,
                    tensor.dtype,
                    shape=ir.Shape(tensor.shape),
                    name=value.name,
                    base_dir=os.path.dirname(path),
                )
            )
            offset += length
        file.flush()
        os.fsync(file.fileno())
    try:
        for value, pointer in zip(values, pointers, strict=True):
            value.const_value = pointer
        _write_file(path, ir.serde.serialize_model(model).SerializeToString(deterministic=True))
    finally:
        for value, tensor in zip(values, tensors, strict=True):
            value.const_value = tensor
