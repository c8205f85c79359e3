"""A weight that is not in memory, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np


class NotInMemory:
    """An array in a store of its own, such as a data set of HDF5.

    Attributes:
        array: the numbers.
        shape: its shape.
        dtype: its dtype.
        reads: how often the numbers were read.
    """

    def __init__(self, array: Any):
        self.array = np.asarray(array)
        self.reads = 0
        self.shape, self.dtype = self.array.shape, self.array.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        del copy
        self.reads += 1
        return self.array.astype(dtype or self.dtype)
