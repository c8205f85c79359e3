"""Reshape and Expand to shapes that may be symbolic, with as little shape arithmetic as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .._compat import is_symbolic
from . import traits
from ._builder import Builder
from ._dims import Dimensions
from ._infer import same_dimension, same_shape
from ._sizes import is_asked_to_be_zero
from ._values import made_by, shape_of, stamp


def reshape(op: Builder, dims: Dimensions, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
    """`x` with another shape of the same number of elements."""
    source = x
    while not same_shape(shape_of(source), tuple(shape)) and (node := _layout_producer(source)) is not None:
        source = node.inputs[0]  # type: ignore[assignment]
    if same_shape(shape_of(source), tuple(shape)):
        return source
    target = _reshape_target(shape_of(source), shape)
    if target is not None and 0 in target and -1 in target and (ones := _moved_ones(shape_of(source), shape)):
        # Where a size is 0, ONNX cannot tell what -1 is: no size is needed if only ones come or go.
        removed, added = ones
        result = op.Unsqueeze(op.Squeeze(source, op.const(removed, np.int64)), op.const(added, np.int64))
    elif target is not None and not (-1 in target and _copies_zeros(target, shape)):
        result = op.Reshape(source, op.const(target, np.int64))
    else:
        result = op.Reshape(source, dims.vector(shape), allowzero=1 if _may_be_empty(shape) else None)
    if shape_of(result) is None:
        stamp(result, None, shape)
    return result


def expand(op: Builder, dims: Dimensions, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
    """`x` broadcast to a shape that it can be broadcast to."""
    # A 1 keeps the size that is there: symbolic sizes that do not change need no arithmetic.
    source = shape_of(x) or ()
    offset = len(shape) - len(source)
    target = [
        1 if is_symbolic(size) and axis >= offset and same_dimension(size, source[axis - offset]) else size
        for axis, size in enumerate(shape)
    ]
    if same_shape(source, tuple(shape)):
        return x
    return op.Expand(x, dims.vector(target))


def _layout_producer(value: ir.Value) -> ir.Node | None:
    node = made_by(value, *traits.RESHAPES)
    return node if node is not None and shape_of(node.inputs[0]) is not None else None  # type: ignore[arg-type]


def _may_be_empty(shape: Sequence[Any]) -> bool:
    return any(is_symbolic(size) or size == 0 for size in shape)


def _copies_zeros(target: Sequence[int], shape: Sequence[Any]) -> bool:
    """Whether a size that stays may be 0, as the user says: then there is nothing that tells what -1 is."""
    return any(kept == 0 and is_asked_to_be_zero(size) for kept, size in zip(target, shape, strict=True))


def _is_one(shape: Sequence[Any], axis: int) -> bool:
    return axis < len(shape) and not is_symbolic(shape[axis]) and shape[axis] == 1


def _moved_ones(source: tuple[Any, ...] | None, shape: Sequence[Any]) -> tuple[list[int], list[int]] | None:
    """Axes of size 1 to remove from one shape and to add to make the other; None if more than those differ."""
    if source is None:
        return None
    removed: list[int] = []
    added: list[int] = []
    here = there = 0
    while here < len(source) or there < len(shape):
        is_one, wants_one = _is_one(source, here), _is_one(shape, there)
        if is_one and not wants_one:
            removed.append(here)
        elif wants_one and not is_one:
            added.append(there)
        elif here == len(source) or there == len(shape) or not same_dimension(source[here], shape[there]):
            return None
        here, there = here + (is_one or not wants_one), there + (wants_one or not is_one)
    return removed, added


def _reshape_target(source: tuple[Any, ...] | None, shape: Sequence[Any]) -> list[int] | None:
    """A symbolic shape as a constant: 0 for a size that stays in its place, -1 for one more; None if that cannot be."""
    if any(not is_symbolic(size) and size == 0 for size in shape):
        return None
    target = []
    for axis, size in enumerate(shape):
        stays = source is not None and axis < len(source) and same_dimension(size, source[axis])
        target.append((0 if stays else -1) if is_symbolic(size) else int(size))
    return target if target.count(-1) <= 1 else None
