"""Weights that are neither in memory nor in the checkpoint as they are needed: a temporary file holds them, mapped."""

import mmap
import os
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from jax.typing import DTypeLike

_CHUNK_BYTES = 1 << 24


def release(array: np.ndarray) -> None:
    """Let go of the memory that a mapped array's pages take; they are read again when they are used again."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


class Scratch:
    """A temporary file for arrays that are computed from mapped ones. It is gone when nothing refers to it any more."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Make the file.

        Args:
            folder: Where; it needs as much room as what is joined or cast, and on POSIX no name is seen there.
        """
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open for as long as the object lives)

    def __del__(self) -> None:
        self._file.close()  # arrays that are mapped stay

    def cast(self, array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
        """The array in another dtype; itself if it has that dtype."""
        return array if array.dtype == np.dtype(dtype) else self._store([array], array.shape, np.dtype(dtype))

    def join(self, arrays: Iterable[np.ndarray]) -> np.ndarray:
        """Arrays of one dtype joined along their first axis."""
        parts = list(arrays)
        shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
        return self._store(parts, shape, parts[0].dtype)

    def _store(self, parts: list[np.ndarray], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        if 0 in shape or not shape:
            return np.concatenate([part.reshape(-1) for part in parts]).reshape(shape).astype(dtype)
        start = self._file.seek(0, os.SEEK_END)
        for part in parts:
            rows = max(1, _CHUNK_BYTES * part.shape[0] // max(1, part.nbytes))
            for row in range(0, part.shape[0], rows):
                self._file.write(np.ascontiguousarray(part[row : row + rows], dtype).reshape(-1).view(np.uint8).data)
                release(part)
        self._file.flush()
        return np.memmap(self._file, dtype, "r", offset=start, shape=shape)
