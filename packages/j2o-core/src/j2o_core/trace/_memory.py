"""Which arrays are the same memory, and which lie in mapped files."""

import mmap
from typing import Any

import numpy as np


def memory_place(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """A key that is equal for all views of the same elements, in whichever object."""
    return (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)


def file_map(array: Any) -> mmap.mmap | None:
    """The mapped file (`np.memmap`) that an array is a view of, None for arrays in memory.

    What was written into a copy-on-write map is in memory, too, and nowhere else.
    """
    modes: list[str] = []
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        modes += [base.mode] if isinstance(base, np.memmap) else []
        base = getattr(base, "base", None)
    return base if modes and "c" not in modes else None
