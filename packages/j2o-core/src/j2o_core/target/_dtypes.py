"""Families of element types."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

T = ir.DataType

FLOATS = (T.BFLOAT16, T.FLOAT16, T.FLOAT, T.DOUBLE)
# Not FLOAT8E8M0, which has neither zero nor signs: no carrier in float32 is exact.
FLOAT8 = (T.FLOAT8E4M3FN, T.FLOAT8E4M3FNUZ, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ)
NARROW_FLOATS = (T.BFLOAT16, T.FLOAT16, *FLOAT8)
SIGNED = (T.INT2, T.INT4, T.INT8, T.INT16, T.INT32, T.INT64)
UNSIGNED = (T.UINT2, T.UINT4, T.UINT8, T.UINT16, T.UINT32, T.UINT64)
INTEGERS = SIGNED + UNSIGNED
# Tensors of the npm package onnxruntime-common, but those of four bits, which no browser's array has.
ARRAYS_OF_JAVASCRIPT = (
    *(T.FLOAT, T.DOUBLE, T.FLOAT16, T.BOOL),
    *(T.INT8, T.INT16, T.INT32, T.INT64, T.UINT8, T.UINT16, T.UINT32, T.UINT64),
)


_SINCE = {"saturate": 19, "round_mode": 24}  # opset that brought an attribute of Cast, and the types that need it


def cast_attributes(dtype: ir.DataType, opset: int) -> dict[str, Any]:
    """The attributes of a Cast that rounds to an element type as XLA does.

    What is too large becomes infinity or NaN, not the largest number; FLOAT8E8M0 is rounded to nearest, not up.
    """
    attributes: dict[str, Any] = {"saturate": 0} if dtype in (*FLOAT8, T.FLOAT8E8M0) else {}
    if dtype is T.FLOAT8E8M0:
        attributes["round_mode"] = "nearest"
    # A Cast without them is refused while legalizing, for its element type.
    return {name: value for name, value in attributes.items() if opset >= _SINCE[name]}


def bits(dtype: ir.DataType) -> int:
    """The size of an element."""
    return round(dtype.itemsize * 8)
