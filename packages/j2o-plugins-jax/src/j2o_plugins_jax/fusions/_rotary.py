"""RotaryEmbedding-23, rotating halves.

before: a, b = Split(x, 2 parts); y = x * cos + Concat(Neg(b), a) * sin      with constant cos and sin, equal halves
after:  y = RotaryEmbedding(x, cos[..., :half], sin[..., :half])             at opset 23 and later
        y = x * cos + Concat(b, a) * sin'  with sin' negative in its first half, below

x has shape [batch, heads, length, size] or [batch, length, heads, size], or one of these without batch. The operator
declines for other ranks, for tables that vary by batch or head, and for float64 and bfloat16.
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


def _with_constant(rw: Rewriter, node: ir.Node) -> list[tuple[ir.Value, ir.Value]]:
    """(operand, table) of a Mul by a constant."""
    left, right = node.inputs
    assert left is not None
    assert right is not None
    return [(value, table) for value, table in ((left, right), (right, left)) if rw.constant(table) is not None]


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


def _rotation(rw: Rewriter, x: ir.Value, cos: ir.Value, rotated: ir.Value, sin: ir.Value) -> ir.Value | None:
    shape = rw.shape(x)
    assert shape is not None
    if rw.opset >= 23 and x.dtype in _DTYPES and len(shape) in (3, 4):
        axes = {_length_axis(rw, table, shape) for table in (cos, sin)}
        if len(axes) == 1 and (axis := axes.pop()) is not None:
            return _rotary_embedding(rw, x, cos, sin, axis)
    concat, table = rotated.producer(), rw.constant(sin)
    assert concat is not None
    assert table is not None
    negated = rw.producer(concat.inputs[0], "Neg")
    if negated is None or table.ndim == 0 or table.shape[-1] != shape[-1]:
        return None
    half = shape[-1] // 2
    signed = rw.derived(sin, "signed", lambda array: np.concatenate([-array[..., :half], array[..., half:]], -1))
    swapped = rw.op.Concat(negated.inputs[0], concat.inputs[1], axis=-1)
    return rw.op.Add(rw.op.Mul(x, cos), rw.op.Mul(swapped, signed))  # type: ignore[no-any-return]


def _length_axis(rw: Rewriter, value: ir.Value, shape: tuple[Any, ...]) -> int | None:
    """The axis along which a table of two equal halves varies, None if it is no such table or has another axis too."""
    table = rw.constant(value)
    rank, size = len(shape), shape[-1]
    if table is None or table.ndim > rank or table.shape[-1:] != (size,):
        return None
    if not np.array_equal(table[..., : size // 2], table[..., size // 2 :]):
        return None
    varying = [axis for axis, extent in enumerate(table.shape[:-1], rank - table.ndim) if extent != 1]
    if (
        len(varying) != 1
        or varying[0] not in (rank - 2, rank - 3)
        or table.shape[varying[0] - rank] != shape[varying[0]]
    ):
        return None
    return varying[0]


def _rotary_embedding(rw: Rewriter, x: ir.Value, cos: ir.Value, sin: ir.Value, axis: int) -> ir.Value:
    """The operator wants [batch, heads, length, size]; around attention the changes of layout cancel."""
    shape = rw.shape(x) or ()
    length, tokens_first, batched = shape[axis], axis == len(shape) - 3, len(shape) == 4
    first, swap = rw.const([0], np.int64), (0, 2, 1, 3)
    rows = x if batched else rw.op.Unsqueeze(x, first)
    heads_first = rw.op.Transpose(rows, perm=swap) if tokens_first else rows
    turned = _looked_up(rw, heads_first, cos, sin, shape[0] if batched else 1, length)
    rows = rw.op.Transpose(turned, perm=swap) if tokens_first else turned
    result: ir.Value = rows if batched else rw.op.Squeeze(rows, first)
    return result


def _looked_up(rw: Rewriter, x: ir.Value, cos: ir.Value, sin: ir.Value, batch: Any, length: int) -> ir.Value:
    """The tables are looked up by position, the same for each row of the batch."""

    def half(table: np.ndarray[Any, Any]) -> Any:
        rows = table.reshape(length, table.shape[-1])
        return rows[:, : table.shape[-1] // 2]

    if batch == 1:
        tables = [rw.derived(table, "row", lambda array: half(array)[None]) for table in (cos, sin)]
        result: ir.Value = rw.op.RotaryEmbedding(x, *tables)
        return result
    tables = [rw.derived(table, "rows", half) for table in (cos, sin)]
    positions = rw.const(np.arange(length)[None], np.int64)
    result = rw.op.RotaryEmbedding(x, *tables, rw.rows(positions, (batch, length)))
    return result
