"""The bytes of a tensor, piece by piece, so that no weight is copied as a whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from ..trace._memory import file_map

_CHUNK_BYTES = 1 << 24
# An array with a layout of its own is copied, block by block.
_BLOCK_BYTES = 1 << 22


def pieces(tensor: Any) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor, little endian, without a copy of all of it.

    A tensor in a mapped file (`np.memmap`) is read from there, and its pages are let go: however many weights there
    are, no more than one is in memory.
    """
    array = tensor.numpy()
    if tensor.dtype.bitwidth < 8 or array.dtype.byteorder == ">" or not array.flags.c_contiguous:
        yield from _rearranged(tensor, array)
    else:
        flat = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(flat), _CHUNK_BYTES):
            yield flat[start : start + _CHUNK_BYTES]
    _let_go(array)


def _rearranged(tensor: Any, array: np.ndarray[Any, Any]) -> Iterator[bytes | memoryview]:
    """The bytes of a view with a layout of its own, such as a transposed or a broadcast one, some rows at a time."""
    if array.nbytes <= _BLOCK_BYTES or array.ndim == 0 or tensor.dtype.bitwidth < 8:
        yield tensor.tobytes()
        return
    rows = max(1, _BLOCK_BYTES * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        block = array[start : start + rows] if rows > 1 else array[start]
        yield from _rearranged(ir.Tensor(block, dtype=tensor.dtype), block)


def _let_go(array: np.ndarray[Any, Any]) -> None:
    """Give back the memory that pages of a mapped file take: what is read again is read from the file again."""
    mapped = file_map(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
