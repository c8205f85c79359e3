"""How the elements of a view lie in the array that it is a view of: by shape, strides and a first element alone.

NumPy's views are of memory. The weights of a model need not be there: the same arithmetic, without any memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Placement:
    """A view of an array in C order.

    Attributes:
        shape: the view's shape.
        strides: elements of the array from one element of an axis to the next.
        first: which element of the array comes first.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    first: int = 0

    def transposed(self, perm: Sequence[int]) -> Placement:
        """The view with its axes in another order."""
        return Placement(tuple(self.shape[a] for a in perm), tuple(self.strides[a] for a in perm), self.first)

    def sliced(self, axis: int, start: int, stop: int, step: int) -> Placement:
        """The view of `[start:stop:step]` of an axis, with a step of 1 or more."""
        indices = range(self.shape[axis])[start:stop:step]
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = len(indices), strides[axis] * step
        return Placement(tuple(shape), tuple(strides), self.first + indices.start * self.strides[axis])

    def reshaped(self, shape: Sequence[int]) -> Placement | None:
        """The view with another shape of the same number of elements; None if its elements do not lie so.

        Sizes of both shapes are matched from the last axis on: those that make the same number of elements are a group,
        and the old axes of a group must lie one behind the other.
        """
        old = [(size, stride) for size, stride in zip(self.shape, self.strides, strict=True) if size != 1]
        new, strides = list(shape), [0] * len(shape)
        position = len(new) - 1
        while old:
            count, stride = old.pop()
            step, made = stride, 1
            while made != count or (position >= 0 and new[position] == 1):
                if made < count:
                    if position < 0:
                        return None
                    strides[position], made = step * made, made * new[position]
                    position -= 1
                elif made > count:
                    if not old or old[-1][1] != stride * count:
                        return None
                    count *= old.pop()[0]
                else:
                    strides[position] = step * made
                    position -= 1
        return Placement(tuple(new), tuple(strides), self.first)

    def broadcast(self, shape: Sequence[int]) -> Placement:
        """The view repeated along axes, as NumPy does it."""
        more = len(shape) - len(self.shape)
        strides = [
            0 if old != size else stride
            for size, old, stride in zip(shape, (1,) * more + self.shape, (0,) * more + self.strides, strict=True)
        ]
        return Placement(tuple(shape), tuple(strides), self.first)

    def of(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The view of an array, without a copy if that is in C order."""
        flat = np.ascontiguousarray(array).reshape(-1)[self.first :]
        strides = [stride * array.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)


def whole(shape: Sequence[int]) -> Placement:
    """All of an array of this shape."""
    sizes = tuple(int(size) for size in shape)
    return Placement(sizes, tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))))
