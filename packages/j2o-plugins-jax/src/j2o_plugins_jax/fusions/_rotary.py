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
    if rw.opset >= 23 and x.dtype in _DTYPES and len(shape) == 4 and all(_has_halves(rw, t, shape) for t in (cos, sin)):
        return _rotary_embedding(rw, x, cos, sin)
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


def _has_halves(rw: Rewriter, value: ir.Value, shape: tuple[Any, ...]) -> bool:
    """Whether a table is [length, size] with two equal halves, the same for all batches and heads."""
    length, size = shape[-2:]
    table = rw.constant(value)
    if table is None or table.ndim < 2 or table.shape[-2:] != (length, size):
        return False
    halves = table[..., : size // 2], table[..., size // 2 :]
    return all(extent == 1 for extent in table.shape[:-2]) and np.array_equal(*halves)


def _rotary_embedding(rw: Rewriter, x: ir.Value, cos: ir.Value, sin: ir.Value) -> ir.Value:
    """The tables are looked up by position, the same for each row of the batch."""
    batch, _, length, size = rw.shape(x) or ()
    if batch == 1:
        tables = [
            rw.derived(t, "halves", lambda table: table.reshape(1, length, size)[..., : size // 2]) for t in (cos, sin)
        ]
        result: ir.Value = rw.op.RotaryEmbedding(x, *tables)
        return result
    tables = [rw.derived(t, "rows", lambda table: table.reshape(length, size)[:, : size // 2]) for t in (cos, sin)]
    positions = rw.const(np.arange(length)[None], np.int64)
    result = rw.op.RotaryEmbedding(x, *tables, rw.rows(positions, (batch, length)))
    return result
