"""Reads safetensors files, as arrays that lie in the mapped files: none of them is in memory before it is used."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np
import onnx_ir as ir

from .._errors import SpecError
from ._weights_file import SAFETENSORS

_DTYPES = {name: ir.DataType[onnx_name].numpy() for onnx_name, name in SAFETENSORS.items()}
_INDEX = "model.safetensors.index.json"
_LARGEST_HEADER = 100_000_000


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file by name; of several files together by their index, as large models are published.

    Each array lies in the mapped file, and its numbers are read where they are used. `OnnxProgram.with_weights` takes
    them as they are.

    Args:
        path: a file, an index (`model.safetensors.index.json`) whose `weight_map` says which file beside it holds which
            tensor, or a folder with such an index.

    Raises:
        SpecError: if it cannot be read, is no safetensors file, or an index names what is not there.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, _INDEX)
    return _shards(path) if path.endswith(".json") else _one_file(path)


def _shards(path: str) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with open(path, "rb") as file:
            weight_map = json.load(file)["weight_map"]
        names = dict.fromkeys(weight_map.values())
        outside = [name for name in names if name != os.path.basename(name) or name in ("", ".", "..")]
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SpecError(f"{path} is no index of safetensors files, or damaged: {error}. Copy it anew.") from error
    if outside:
        raise SpecError(f"{path} names {outside[0]!r}. Expected the name of a file beside it.")
    files = {name: _one_file(os.path.join(os.path.dirname(path), name)) for name in names}
    missing = [f"{tensor!r} in {name}" for tensor, name in weight_map.items() if tensor not in files[name]]
    if missing:
        raise SpecError(f"{path} names {', '.join(missing[:4])}, which the file does not have. Copy the files anew.")
    return {tensor: files[name][tensor] for tensor, name in weight_map.items()}


def _one_file(path: str) -> dict[str, np.ndarray[Any, Any]]:
    record = "its header"
    try:
        size = os.path.getsize(path)
        if not os.path.isfile(path):  # to open a pipe could take for ever
            raise ValueError("it is not a file")
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size, _LARGEST_HEADER):
                raise ValueError(f"it has {length} bytes, the file has {size}")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("it is no table")
        header.pop("__metadata__", None)
        arrays = {}
        for name, entry in header.items():
            record = f"the tensor {name!r}"
            arrays[name] = _array(path, entry, 8 + length, size)
        return arrays
    except OSError as error:
        raise SpecError(f"{os.fspath(path)} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise SpecError(
            f"{os.fspath(path)} is no safetensors file, or damaged: {record}: {error}. Copy it anew, or save it again."
        ) from error


def _array(path: Any, entry: Any, begin: int, size: int) -> np.ndarray[Any, Any]:
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(int(n) for n in entry["shape"])
    first, last = entry["data_offsets"]
    if min(shape, default=0) < 0 or last - first != math.prod(shape) * dtype.itemsize or not 0 <= first <= last:
        raise ValueError("its size is not that of its shape")
    if begin + last > size:
        raise ValueError(f"it ends at byte {begin + last}, the file at {size}")
    if last == first:
        return np.zeros(shape, dtype)
    return np.memmap(path, np.uint8, "r", begin + first, (last - first,)).view(dtype).reshape(shape)
