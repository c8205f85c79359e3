"""RotaryEmbedding-23, rotating halves.

before: a, b = Split(x, 2 parts); y = x * cos + Concat(Neg(b), a) * sin      with constant cos and sin, equal halves
after:  y = RotaryEmbedding(x, cos[..., :half], sin[..., :half])             at opset 23 and later
        y = x * cos + Concat(b, a) * sin'  with sin' negative in its first half, below

x has shape [batch, heads, length, size]. Declines for other ranks and for tables that vary by batch or head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from j2o_core import Rewriter

from .._plugin import plugin

_DTYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@plugin.rewrite("Add")
def _rotary(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    left, right = (rw.producer(value, "Mul") for value in node.inputs)
    if left is None or right is None:
        return None
    for plain, turned in ((left, right), (right, left)):
        for x, cos in _with_constant(rw, plain):
            for rotated, sin in _with_constant(rw, turned):
                if _is_rotated(rw, rotated, x):
                    result = _rotation(rw, x, cos, rotated, sin)
                    if result is not None:
                        return result
    return None


def _with_constant(rw: Rewriter, node: ir.Node) -> list[tuple[ir.Value, Any]]:
    """(operand, table) of a Mul by a constant."""
    left, right = node.inputs
    pairs = [(left, rw.constant(right)), (right, rw.constant(left))]
    return [(value, table) for value, table in pairs if table is not None and value is not None]


def _is_rotated(rw: Rewriter, value: ir.Value, x: ir.Value) -> bool:
    """Whether a value is Concat(-second half, first half) of x along the last axis."""
    concat = rw.producer(value, "Concat")
    shape = rw.shape(x)
    if concat is None or shape is None or len(concat.inputs) != 2 or not isinstance(shape[-1], int) or shape[-1] % 2:
        return False
    if rw.attr(concat, "axis") not in (-1, len(shape) - 1):
        return False
    negated = rw.producer(concat.inputs[0], "Neg")
    second = rw.slice_of(negated.inputs[0]) if negated is not None else None
    first = rw.slice_of(concat.inputs[1])
    half = shape[-1] // 2
    return (
        first is not None
        and second is not None
        and first.source is x
        and second.source is x
        and first.axis == second.axis == len(shape) - 1
        and (first.start, first.stop, second.start, second.stop) == (0, half, half, 2 * half)
    )


def _rotation(rw: Rewriter, x: ir.Value, cos: Any, rotated: ir.Value, sin: Any) -> ir.Value | None:
    shape = rw.shape(x)
    assert shape is not None
    if rw.opset >= 23 and x.dtype in _DTYPES and len(shape) == 4:
        tables = [_half_table(table, shape) for table in (cos, sin)]
        if tables[0] is not None and tables[1] is not None:
            return _rotary_embedding(rw, x, tables[0], tables[1])
    concat = rotated.producer()
    assert concat is not None
    half = shape[-1] // 2
    if np.broadcast_shapes(sin.shape, (shape[-1],))[-1] != sin.shape[-1]:
        return None
    signed = np.concatenate([-sin[..., :half], sin[..., half:]], -1)
    negated = rw.producer(concat.inputs[0], "Neg")
    assert negated is not None
    swapped = rw.op.Concat(negated.inputs[0], concat.inputs[1], axis=-1)
    return rw.op.Add(rw.op.Mul(x, rw.const(cos)), rw.op.Mul(swapped, rw.const(signed)))  # type: ignore[no-any-return]


def _half_table(table: Any, shape: tuple[Any, ...]) -> Any | None:
    """A table [length, size] of equal halves as [length, size / 2]."""
    length, size = shape[-2:]
    if not isinstance(length, int) or table.shape[-1] != size:
        return None
    if table.ndim < 2 or table.shape[-2] != length or any(extent != 1 for extent in table.shape[:-2]):
        return None
    flat = table.reshape(length, size)
    half = size // 2
    return np.ascontiguousarray(flat[:, :half]) if np.array_equal(flat[:, :half], flat[:, half:]) else None


def _rotary_embedding(rw: Rewriter, x: ir.Value, cos: Any, sin: Any) -> ir.Value:
    """The tables are looked up by position, the same for each row of the batch."""
    batch, length = (rw.shape(x) or ())[0], cos.shape[0]
    if batch == 1:
        result: ir.Value = rw.op.RotaryEmbedding(x, rw.const(cos[None], x), rw.const(sin[None], x))
        return result
    positions = rw.const(np.arange(length)[None], np.int64)
    if isinstance(batch, int):
        positions = rw.const(np.broadcast_to(np.arange(length), (batch, length)), np.int64)
    else:
        rows = rw.op.Shape(x, start=0, end=1)
        positions = rw.op.Expand(positions, rw.op.Concat(rows, rw.const([length], np.int64), axis=0))
    result = rw.op.RotaryEmbedding(x, rw.const(cos, x), rw.const(sin, x), positions)
    return result
