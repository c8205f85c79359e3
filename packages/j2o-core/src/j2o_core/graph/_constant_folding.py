"""Nodes of constants that are constants: changes of layout, and small integer and logical arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from . import traits
from ._constants import Constants

# Above this size only views (which cost nothing) are folded.
_FOLD_BYTES = 65536


def fold_node(
    constants: Constants, op_type: str, inputs: Sequence[ir.Value | None], attrs: dict[str, Any]
) -> ir.Value | None:
    """The constant that a node of constants would compute, for layout operators and small integer arithmetic."""
    rule = _FOLDS.get(op_type)
    if rule is None:
        return None
    arrays = []
    for value in inputs:
        array = constants.array(value)
        if array is None:
            return None
        arrays.append(array)
    result = rule(arrays, attrs)
    if result is None:
        return None
    result = np.asarray(result)
    assert inputs[0] is not None
    if op_type not in traits.LAYOUT:
        return constants.get(result)
    wide = constants.wide(inputs[0]) if result.dtype.itemsize == 2 else None
    return constants.get(result, constants.hint(inputs[0]), None if wide is None else rule([wide, *arrays[1:]], attrs))


def _fold_transpose(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    return arrays[0].transpose(attrs.get("perm"))


def _fold_reshape(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, target = arrays
    if attrs.get("allowzero") or (target == 0).any():
        return None if not attrs.get("allowzero") else x.reshape([int(size) for size in target])
    return x.reshape([int(size) for size in target])


def _fold_unsqueeze(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    return np.expand_dims(arrays[0], tuple(int(axis) for axis in arrays[1]))


def _fold_squeeze(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, *axes = arrays
    return np.squeeze(x, tuple(int(axis) for axis in axes[0]) if axes else None)


def _fold_cast(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    (x,) = arrays
    new = ir.DataType(int(attrs["to"])).numpy()
    if x.nbytes > _FOLD_BYTES or x.dtype == new:  # the operand itself is the result, with its name
        return None
    floats = all(dtype.kind == "f" or dtype.name == "bfloat16" for dtype in (x.dtype, new))
    # NumPy rounds float64 to bfloat16 twice.
    twice = x.dtype == np.float64 and new.name == "bfloat16"
    if (x.dtype.kind in "biu" and new.kind in "biuf") or (floats and not twice):
        with np.errstate(all="ignore"):
            return x.astype(new)
    return None


def _fold_concat(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    if sum(array.nbytes for array in arrays) > _FOLD_BYTES:
        return None
    return np.concatenate(arrays, attrs["axis"])


def _fold_gather(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, indices = arrays
    size = x.shape[attrs.get("axis", 0)]
    if x.nbytes > _FOLD_BYTES or (indices >= size).any() or (indices < -size).any():
        return None
    return np.take(x, indices, attrs.get("axis", 0))


def _integer(operation: Callable[..., Any]) -> Callable[..., Any]:
    def fold(arrays: list[Any], attrs: dict[str, Any]) -> Any:
        if any(array.dtype != np.int64 or array.size > 64 for array in arrays):
            return None
        return operation(*arrays)

    return fold


def _logical(operation: Callable[..., Any]) -> Callable[..., Any]:
    def fold(arrays: list[Any], attrs: dict[str, Any]) -> Any:
        result = operation(*arrays)
        return result if result.nbytes <= _FOLD_BYTES else None

    return fold


_FOLDS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Transpose": _fold_transpose,
    "Reshape": _fold_reshape,
    "Unsqueeze": _fold_unsqueeze,
    "Squeeze": _fold_squeeze,
    "Cast": _fold_cast,
    "Concat": _fold_concat,
    "Gather": _fold_gather,
    "Add": _integer(np.add),
    "Sub": _integer(np.subtract),
    "Mul": _integer(np.multiply),
    "And": _logical(np.logical_and),
    "Or": _logical(np.logical_or),
}
