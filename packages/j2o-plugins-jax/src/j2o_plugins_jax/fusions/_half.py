"""Half precision: JAX computes parts of what is one operator in float32, with a Cast before and one behind.

bfloat16 has the range of float32: whatever of a formula is rounded to it, the operator differs from by rounding only,
towards the true number, as ONNX Runtime computes it in float32. float16 has not: a square that it rounds is infinite
from 256 on, and what is computed from it is another number than the operator's. So operators that take squares are made
of bfloat16 and float32 alone, and of parts in float32.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
UP_TO_FLOAT32 = (ir.DataType.FLOAT, *HALVES)
"""Element types whose numbers are numbers of float32, the type of attributes."""
SINGLE_RANGE = (ir.DataType.FLOAT, ir.DataType.BFLOAT16)
"""Element types in which only numbers overflow that do so in float32."""


def widened(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The half x of Cast(x) to float32; else the value, which has the same numbers."""
    return _cast_of(rw, value, HALVES, (ir.DataType.FLOAT,))


def rounded(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The float32 x of Cast(x) to bfloat16; else the value, from which it differs by rounding."""
    return _cast_of(rw, value, (ir.DataType.FLOAT,), (ir.DataType.BFLOAT16,))


def before_half_cast(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The float32 x of Cast(x) to half precision that has no other use, None for others."""
    found = _cast_of(rw, value, (ir.DataType.FLOAT,), HALVES)
    return found if found is not None and found is not value and rw.only_use(found) else None


def _cast_of(
    rw: Rewriter, value: ir.Value | None, before: tuple[ir.DataType, ...], after: tuple[ir.DataType, ...]
) -> ir.Value | None:
    source = rw.operand_of(value, "Cast")
    if source is None or value is None:
        return value
    return source if value.dtype in after and source.dtype in before else value
