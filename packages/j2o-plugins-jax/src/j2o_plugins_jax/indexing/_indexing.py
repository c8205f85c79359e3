"""Windows of an array at index vectors, for gather and scatter, and the places of their axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext
from j2o_core.graph._infer import same_dimension

from .._shapes import drop_axes, insert_axes
from ._indices import number_of


@dataclass(frozen=True)
class Axis:
    """The origin of an axis of the result: an axis of the indices, or the window along an axis of the array."""

    of_indices: bool
    number: int


@dataclass(frozen=True)
class Windows:
    """One window of an array for each index vector.

    Attributes:
        shape: shape of the array.
        batch: shape of the indices without their last axis.
        sizes: size of the window along each axis of the array.
        indexed: axes of the array that the index vectors point into, in their order.
        paired: for axes of the array that run along with an axis of the indices, that axis.
        axes: the axes of the array of all windows: a gather's result, a scatter's updates.
    """

    shape: tuple[Any, ...]
    batch: tuple[Any, ...]
    sizes: tuple[Any, ...]
    indexed: tuple[int, ...]
    paired: dict[int, int]
    axes: tuple[Axis, ...]

    @classmethod
    def of(
        cls,
        shape: Sequence[Any],
        batch: Sequence[Any],
        sizes: Sequence[Any],
        indexed: Sequence[int],
        paired: tuple[Sequence[int], Sequence[int]],
        dropped: Sequence[int],
        placed: Sequence[int],
    ) -> Windows:
        """Windows as JAX's dimension numbers give them.

        Args:
            shape: as above.
            batch: as above.
            sizes: as above.
            indexed: as above.
            paired: axes of the array, and the axes of the indices that they run along with.
            dropped: axes of the array whose windows, of size 1, are no axis of the windows' array.
            placed: where the other axes of the array are in the windows' array.
        """
        pairs = dict(zip(*paired, strict=True))
        rest = [axis for axis in range(len(shape)) if axis not in dropped and axis not in pairs]
        windows, batches = iter(rest), iter(range(len(batch)))
        axes = tuple(
            Axis(False, next(windows)) if axis in placed else Axis(True, next(batches))
            for axis in range(len(batch) + len(rest))
        )
        return cls(tuple(shape), tuple(batch), tuple(sizes), tuple(indexed), pairs, axes)

    @property
    def rest(self) -> list[int]:
        """Axes of the array that are taken from their start."""
        return [axis for axis in range(len(self.shape)) if axis not in self.indexed and axis not in self.paired]

    @property
    def unpaired(self) -> list[int]:
        """Axes of the indices that no axis of the array runs along with."""
        return [axis for axis in range(len(self.batch)) if axis not in self.paired.values()]

    @property
    def is_one(self) -> bool:
        """Whether there is a single window."""
        return not self.paired and all(same_dimension(size, 1) for size in self.batch)

    @property
    def last_starts(self) -> list[Any]:
        """The largest start of a window inside the array, for each number of an index vector."""
        return [self.shape[axis] - self.sizes[axis] for axis in self.indexed]

    def with_indexed(self, shape: Sequence[Any], indexed: Sequence[int]) -> Windows:
        """The same windows of an array that was cut to what they have in common."""
        return replace(self, shape=tuple(shape), indexed=tuple(indexed))

    def arrange(self, ctx: LoweringContext, value: ir.Value, axes: Sequence[Axis], wanted: Sequence[Axis]) -> ir.Value:
        """A value with axes in another order; those that are in one list only have size 1 and are dropped or added."""

        def sizes(labels: Sequence[Axis]) -> list[Any]:
            return [self.batch[one.number] if one.of_indices else self.sizes[one.number] for one in labels]

        spare = [position for position, label in enumerate(axes) if label not in wanted]
        axes = [label for label in axes if label in wanted]
        value = drop_axes(ctx, value, sizes(axes), spare)
        value = ctx.op.Transpose(value, perm=[axes.index(label) for label in wanted if label in axes])
        missing = [position for position, label in enumerate(wanted) if label not in axes]
        return insert_axes(ctx, value, sizes(wanted), missing)

    def starts(self, ctx: LoweringContext, index: ir.Value) -> list[ir.Value]:
        """The start of a single window along each axis of the array, of its index vector."""
        starts = [ctx.const(0, np.int64)] * len(self.shape)
        width = len(self.indexed)
        flat = ctx.reshape(index, () if width == 1 else (width,))
        for column, axis in enumerate(self.indexed):
            starts[axis] = number_of(ctx, flat, column, width, 0)
        return starts

    def spread(self, ctx: LoweringContext, value: ir.Value) -> ir.Value:
        """Something per index vector, as it is broadcast over the array of all windows."""
        sizes = [self.batch[axis.number] if axis.of_indices else 1 for axis in self.axes]
        return insert_axes(ctx, value, sizes, [place for place, axis in enumerate(self.axes) if not axis.of_indices])
