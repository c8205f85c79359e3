"""Dtype and shape in JAX's terms, symbolic dimensions included, on onnx_ir values."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .. import _compat
from ._sizes import dimension_text

_SHAPE = "j2o_shape"

# Kinds of the dtypes of real numbers. V: those that NumPy does not know, bfloat16, float8 and integers of few bits.
REAL_KINDS = "fiuV"


def onnx_dtype(dtype: Any) -> ir.DataType:
    """The ONNX element type of a NumPy or JAX dtype."""
    return _onnx_dtype(np.dtype(dtype))


@functools.lru_cache(maxsize=256)
def _onnx_dtype(dtype: np.dtype[Any]) -> ir.DataType:
    return ir.DataType.from_numpy(dtype)


def numpy_dtype(value: ir.Value) -> np.dtype[Any]:
    """The NumPy dtype of a value whose element type is known."""
    assert value.dtype is not None, value
    return value.dtype.numpy()


def stamp(value: ir.Value, dtype: Any, shape: Sequence[Any] | None) -> None:
    """Set a value's element type and shape."""
    if dtype is not None:
        value.dtype = dtype if isinstance(dtype, ir.DataType) else onnx_dtype(dtype)
    if shape is not None:
        plain = tuple([size if type(size) is int else _plain_int(size) for size in shape])
        value.meta[_SHAPE] = plain
        value.shape = ir.Shape([size if type(size) is int else dimension_text(size) for size in plain])


def stamp_fixed(value: ir.Value, dtype: Any, shape: tuple[int, ...]) -> None:
    """Set the element type and the shape of a constant; constants of one shape share it."""
    value.dtype = onnx_dtype(dtype)
    value.meta[_SHAPE] = shape
    value.shape = _fixed_shape(shape)


@functools.lru_cache(maxsize=1024)
def _fixed_shape(shape: tuple[int, ...]) -> ir.Shape:
    return ir.Shape(shape, frozen=True)


def _plain_int(dimension: Any) -> Any:
    return dimension if _compat.is_symbolic(dimension) or isinstance(dimension, str) else int(dimension)


def shape_of(value: ir.Value) -> tuple[Any, ...] | None:
    """The shape with JAX's symbolic dimensions, or None if it is not known."""
    return value.meta.data.get(_SHAPE)  # the dict itself: this is asked some hundred times for a node


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a value, if all of it is known as numbers."""
    shape = shape_of(value) if value is not None else None
    return shape if shape is not None and all(isinstance(size, int) for size in shape) else None


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes a value, if it is one of these operators, or any where none is named."""
    node = None if value is None else value.producer()
    return None if node is None or (op_types and node.op_type not in op_types) else node


def attribute_of(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of an attribute of a node, or the default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def is_float(value: ir.Value | None) -> bool:
    """Whether a value is known to be of floats."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def is_integer(value: ir.Value | None) -> bool:
    """Whether a value is known to be of integers."""
    return value is not None and value.dtype is not None and value.dtype.is_integer()


def is_empty(value: ir.Value | None) -> bool:
    """Whether a value is known to have no elements."""
    shape = shape_of(value) if value is not None else None
    return shape is not None and any(isinstance(size, int) and size == 0 for size in shape)


_SHORT_DTYPES = {
    "FLOAT": "f32",
    "DOUBLE": "f64",
    "FLOAT16": "f16",
    "BFLOAT16": "bf16",
    "COMPLEX64": "c64",
    "COMPLEX128": "c128",
    **{f"INT{bits}": f"i{bits}" for bits in (2, 4, 8, 16, 32, 64)},
    **{f"UINT{bits}": f"u{bits}" for bits in (2, 4, 8, 16, 32, 64)},
}


def dtype_text(value: ir.Value) -> str:
    """A short name of a value's element type: `f32`, `i8`, `bool`."""
    if value.dtype is None:
        return "?"
    return _SHORT_DTYPES.get(value.dtype.name, value.dtype.name.lower())


def shape_text(value: ir.Value) -> str:
    """A value's shape as `[B,3]`, `?` where it is not known."""
    if value.shape is None:
        return "[?]"
    sizes = (size.value if isinstance(size, ir.SymbolicDim) else size for size in value.shape)
    return f"[{','.join('?' if size is None else str(size) for size in sizes)}]"
