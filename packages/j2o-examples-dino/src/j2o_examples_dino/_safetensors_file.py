"""Safetensors files without a copy: tensors are views of the mapped file, and are written one after the other."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import safe_open

from ._damage import in_bytes, read_as, reading
from ._whole_file import whole_file

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_DIGEST = "j2o.sha256"
_CHUNK_BYTES = 1 << 24
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def map_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read-only arrays by name, backed by the file and read from it when they are used.

    Raises:
        CheckpointError: If the file is damaged.
    """
    with read_as(path, "a safetensors file"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            with reading(in_bytes("the header", 0, 8 + length)):
                # The library checks it: sizes, offsets, overlaps, the end of the file.
                with safe_open(path, framework="numpy"):
                    pass
                header = json.loads(file.read(length))
                digest = (header.pop("__metadata__", None) or {}).get(_DIGEST)
        size = path.stat().st_size
        if digest is not None and digest != (found := _digest_behind(path, 8 + length)):
            with reading(in_bytes("the weights", 8 + length, size)):
                raise ValueError(f"they have the digest {found} instead of {digest}")
        content = np.memmap(path, np.uint8, "r", offset=0)
        tensors = {}
        for name, entry in header.items():
            start, end = (8 + length + place for place in entry["data_offsets"])
            with reading(in_bytes(f"tensor {name!r}", start, end)):
                dtype = _DTYPES.get(entry["dtype"])
                if dtype is None:
                    raise ValueError(f"it has dtype {entry['dtype']}, expected one of {', '.join(_DTYPES)}")
                tensors[name] = content[start:end].view(dtype).reshape(entry["shape"])
        return tensors


def _digest_behind(path: Path, start: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names, holding no more than one at a time.

    Args:
        path: The file. An old one is replaced only when the new one is complete.
        tensors: Arrays, which may be views of mapped files.
    """
    # The widest first, so that every tensor is aligned to its elements.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {}
    position = 0
    for name in names:
        end = position + tensors[name].nbytes
        dtype = _NAMES[tensors[name].dtype]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [position, end]}
        position = end
    # The format has no checksum of its own.
    digest = hashlib.sha256()
    for name in names:
        digest.update(_bytes_of(tensors[name]).data)
    header["__metadata__"] = {_DIGEST: digest.hexdigest()}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(_bytes_of(tensors[name]).data)
        file.flush()
        os.fsync(file.fileno())
