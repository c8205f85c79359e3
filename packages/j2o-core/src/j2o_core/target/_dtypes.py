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


def cast_attributes(dtype: ir.DataType) -> dict[str, Any]:
    """The attributes of a Cast that rounds to an element type as XLA does.

    What is too large becomes infinity or NaN, not the largest number; FLOAT8E8M0 is rounded to nearest, not up.
    """
    if dtype is T.FLOAT8E8M0:
        return {"saturate": 0, "round_mode": "nearest"}
    return {"saturate": 0} if dtype in FLOAT8 else {}


def bits(dtype: ir.DataType) -> int:
    """The size of an element."""
    return round(dtype.itemsize * 8)
