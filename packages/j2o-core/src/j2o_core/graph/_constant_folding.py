"""Nodes of constants that are constants: elements that move, comparisons, integer and logical arithmetic."""

from __future__ import annotations

import functools
import math
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
    """The constant that a node of constants would compute, None where that is rounded, large, or an error."""
    if op_type not in _FOLDS:
        return None
    arrays = []
    for value in inputs:
        array = constants.array(value)
        if array is None:
            return None
        arrays.append(array)
    result = folded(op_type, arrays, attrs)
    if result is None:
        return None
    assert inputs[0] is not None
    if op_type not in (*traits.LAYOUT, "Slice"):
        return constants.get(result)
    wide = constants.wide(inputs[0]) if result.dtype.itemsize == 2 else None
    wide = None if wide is None else folded(op_type, [wide, *arrays[1:]], attrs)
    return constants.get(result, constants.hint(inputs[0]), wide)


def folded(op_type: str, arrays: Sequence[Any], attrs: dict[str, Any]) -> np.ndarray[Any, Any] | None:
    """The array that an operator gives for arrays, None where that is rounded, large, or an error."""
    rule = _FOLDS.get(op_type)
    result = rule(list(arrays), attrs) if rule is not None else None
    return None if result is None else np.asarray(result)


def _fold_reshape(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, target = arrays
    if (target == 0).any() and not attrs.get("allowzero"):
        return None  # a zero copies a size
    return x.reshape([int(size) for size in target])


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


def _fold_gather_nd(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, vectors = arrays
    sizes = np.array(x.shape[: vectors.shape[-1]])
    if attrs.get("batch_dims", 0) or x.nbytes > _FOLD_BYTES or (vectors >= sizes).any() or (vectors < -sizes).any():
        return None
    return x[tuple(np.moveaxis(vectors, -1, 0))]


def _fold_slice(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, starts, ends, *rest = arrays
    axes = rest[0] if rest else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 else np.ones_like(starts)
    if (steps < 1).any():
        return None
    taken = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        taken[axis] = slice(int(start), int(end), int(step))
    result = x[tuple(taken)]
    return result if result.nbytes <= _FOLD_BYTES else None


def _fold_pad(arrays: list[Any], attrs: dict[str, Any]) -> Any:
    x, pads, *rest = arrays
    if attrs.get("mode", "constant") != "constant" or len(rest) != 1 or (pads < 0).any():
        return None
    widths = pads.reshape(2, -1).T
    size = math.prod(size + before + after for size, (before, after) in zip(x.shape, widths.tolist(), strict=True))
    return np.pad(x, widths, constant_values=rest[0]) if size * x.itemsize <= _FOLD_BYTES else None


def _elementwise(operation: Callable[..., Any], kinds: str) -> Callable[..., Any]:
    """The rule of an operator of elements, for dtypes of these kinds."""

    def fold(arrays: list[Any], attrs: dict[str, Any]) -> Any:
        if any(array.dtype.kind not in kinds for array in arrays):
            return None
        size = math.prod(np.broadcast_shapes(*[array.shape for array in arrays]))
        if size * max(array.itemsize for array in arrays) > _FOLD_BYTES:
            return None
        with np.errstate(all="ignore"):  # integers wrap around
            return operation(*arrays)

    return fold


def _quotient(x: Any, y: Any) -> Any:
    """The quotient rounded towards zero; None where one is no integer."""
    return None if (y == 0).any() or (y == -1).any() else (x - np.fmod(x, y)) // y


_ELEMENTWISE: dict[str, tuple[Callable[..., Any], str]] = {
    "Add": (np.add, "iu"),
    "Sub": (np.subtract, "iu"),
    "Mul": (np.multiply, "iu"),
    "Div": (_quotient, "iu"),
    "Neg": (np.negative, "i"),
    "Abs": (np.abs, "iu"),
    "Sign": (np.sign, "iu"),
    "Max": (lambda *arrays: functools.reduce(np.maximum, arrays), "iu"),
    "Min": (lambda *arrays: functools.reduce(np.minimum, arrays), "iu"),
    "Not": (np.logical_not, "b"),
    "And": (np.logical_and, "b"),
    "Or": (np.logical_or, "b"),
    "Xor": (np.logical_xor, "b"),
    "BitwiseNot": (np.bitwise_not, "iu"),
    "BitwiseAnd": (np.bitwise_and, "iu"),
    "BitwiseOr": (np.bitwise_or, "iu"),
    "BitwiseXor": (np.bitwise_xor, "iu"),
    "Equal": (np.equal, "biuf"),
    "Less": (np.less, "iuf"),
    "LessOrEqual": (np.less_equal, "iuf"),
    "Greater": (np.greater, "iuf"),
    "GreaterOrEqual": (np.greater_equal, "iuf"),
    "IsNaN": (np.isnan, "f"),
    "Where": (np.where, "biuf"),
}

_FOLDS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Transpose": lambda arrays, attrs: arrays[0].transpose(attrs.get("perm")),
    "Reshape": _fold_reshape,
    "Unsqueeze": lambda arrays, attrs: np.expand_dims(arrays[0], tuple(arrays[1].tolist())),
    "Squeeze": _fold_squeeze,
    "Cast": _fold_cast,
    "Concat": _fold_concat,
    "Gather": _fold_gather,
    "GatherND": _fold_gather_nd,
    "Slice": _fold_slice,
    "Pad": _fold_pad,
    **{op_type: _elementwise(*rule) for op_type, rule in _ELEMENTWISE.items()},
}

FOLDED = frozenset(_FOLDS)
"""Operators of whose constant operands the result may be computed."""
