"""The bytes of a tensor, piece by piece, so that no weight is copied as a whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._kept import KeptWeight, cast
from ..trace._memory import file_map

_Array = np.ndarray[Any, Any]

_CHUNK_BYTES = 1 << 24
# An array with a layout of its own is copied, block by block.
_BLOCK_BYTES = 1 << 22


def pieces(tensor: Any) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor, little endian, without a copy of all of it.

    A tensor in a mapped file (`np.memmap`) is read from there, and its pages are let go: however many weights there
    are, no more than one is in memory. So is one that is read only here, and cast on the way.
    """
    raw = getattr(tensor, "raw", None)
    array: Any = raw.stored() if isinstance(raw, KeptWeight) else tensor.numpy()
    dtype = raw.dtype if isinstance(raw, KeptWeight) else array.dtype
    is_plain = array.dtype == dtype and array.dtype.byteorder != ">" and array.flags.c_contiguous
    if not is_plain or tensor.dtype.bitwidth < 8:
        yield from _rearranged(array, tensor.dtype, dtype, raw.leaf if isinstance(raw, KeptWeight) else "")
    else:
        flat = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(flat), _CHUNK_BYTES):
            yield flat[start : start + _CHUNK_BYTES]
    _let_go(array)


def _rearranged(array: _Array, element: ir.DataType, dtype: Any, leaf: str) -> Iterator[bytes | memoryview]:
    """The bytes of a view with a layout of its own, such as a transposed or a broadcast one, some rows at a time."""
    if array.nbytes <= _BLOCK_BYTES or array.ndim == 0 or element.bitwidth < 8:
        yield ir.Tensor(cast(array, dtype, leaf), dtype=element).tobytes()
        return
    rows = max(1, _BLOCK_BYTES * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        yield from _rearranged(array[start : start + rows] if rows > 1 else array[start], element, dtype, leaf)


def _let_go(array: _Array) -> None:
    """Give back the memory that pages of a mapped file take: what is read again is read from the file again."""
    mapped = file_map(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
