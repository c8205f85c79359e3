"""The bytes of a tensor, piece by piece, so that no weight is copied as a whole."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._kept import KeptWeight, Weight
from ..trace._memory import file_map

_Array = np.ndarray[Any, Any]

_CHUNK_BYTES = 1 << 24
# An array with a layout of its own is copied, block by block.
_BLOCK_BYTES = 1 << 22
# A line of the cache holds so many float32.
_COLUMNS = 16


def pieces(tensor: Any) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor, little endian, without a copy of all of it.

    A tensor in a mapped file (`np.memmap`) is read from there, and its pages are let go: however many weights there
    are, no more than one is in memory. So are those that are read only here, and cast or computed on the way.
    """
    raw = getattr(tensor, "raw", None)
    arrays = [view.stored() for view in raw.views()] if isinstance(raw, Weight) else [tensor.numpy()]
    array: _Array = arrays[0]
    is_stored = not isinstance(raw, Weight) or (isinstance(raw, KeptWeight) and array.dtype == raw.dtype)
    is_plain = is_stored and array.dtype.byteorder != ">" and array.flags.c_contiguous
    if not is_plain or tensor.dtype.bitwidth < 8:
        yield from _computed(arrays, tensor.dtype, raw.compute if isinstance(raw, Weight) else _first)
    else:
        flat: memoryview = array.reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), _CHUNK_BYTES):
            yield flat[start : start + _CHUNK_BYTES]
    for array in arrays:
        _let_go(array)


def _computed(
    arrays: Sequence[_Array], element: ir.DataType, compute: Callable[[Iterator[_Array]], _Array]
) -> Iterator[bytes | memoryview]:
    """The bytes of what is computed from arrays of one shape, such as a transposed or a broadcast one, by rows."""
    first, nbytes = arrays[0], max(array.nbytes for array in arrays)
    if nbytes <= _BLOCK_BYTES or first.ndim == 0 or element.bitwidth < 8:
        tensor = ir.Tensor(compute(iter(arrays)), dtype=element)
        array = tensor.raw
        is_strided = array.ndim > 1 and array.size > 0 and not array.flags.c_contiguous and element.bitwidth >= 8
        yield _in_order(array).reshape(-1).view(np.uint8).data if is_strided else tensor.tobytes()
        return
    rows = max(1, _BLOCK_BYTES * len(first) // nbytes)
    for start in range(0, len(first), rows):
        part = slice(start, start + rows) if rows > 1 else start
        yield from _computed([array[part] for array in arrays], element, compute)


def _in_order(array: _Array) -> _Array:
    """A copy without gaps, made a few columns at a time: of a transposed array these lie together, in the cache."""
    result = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[-1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        result[..., columns] = array[..., columns]
    return result


def _first(arrays: Iterator[_Array]) -> _Array:
    return next(arrays)


def _let_go(array: _Array) -> None:
    """Give back the memory that pages of a mapped file take: what is read again is read from the file again."""
    mapped = file_map(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
