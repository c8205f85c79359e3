"""RotaryEmbedding-23.

before: a, b = Split(x, 2 parts); y = x * cos + Concat(Neg(b), a) * sin
    or  y = Concat(a * cos - b * sin, b * cos + a * sin)
after:  y = RotaryEmbedding(x, cos, sin)                                     at opset 23 and later

a and b are halves of the last axis, or its even and odd numbers (interleaved). The tables are constants; in the first
form each number stands there for a and for b, and the sign may be in the table of sines. x has shape
[batch, heads, length, size] or [batch, length, heads, size], or one of these without batch, and may have been moved
there. Declines for other ranks, for tables that vary by batch or head, and for float64.

before: y = Concat(RotaryEmbedding(x[..., :n]), x[..., n:])                  a part of each head
after:  y = RotaryEmbedding(x, rotary_embedding_dim=n)

before: y = x * cos + Concat(Neg(b), a) * sin                                halves, where the operator declines
after:  y = x * cos + Concat(b, a) * sin'                                    sin' is negative in its first half
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin
from ._half import HALVES
from ._pairs import LAYOUT, Axes, One, are_pairs, behind, one_of_pairs, swapped, through, together

_DTYPES = (ir.DataType.FLOAT, *HALVES)
_SWAP = (0, 2, 1, 3)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Table:
    """Rows [length, pairs] made from a constant; `how` names the way, so that each is made once."""

    source: ir.Value
    how: str
    make: Callable[[Array], Array]


@plugin.rewrite("Add")
def _of_swapped(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The form with the numbers of each pair exchanged."""
    for x, cos, other, sin in _products(rw, node):
        found, view = swapped(rw, other), rw.view(x)
        if found is None or view is None:
            continue
        one, axes, negated = found
        if view.root is not one.root or view.axes != axes or axes[-1] != one.whole:
            continue
        result = _turned(rw, x, one, negated, cos, sin) or _with_signs_in_table(rw, x, one, negated, cos, sin)
        if result is not None:
            return result
    return None


def _products(rw: Rewriter, node: ir.Node) -> list[tuple[ir.Value, ir.Value, ir.Value, ir.Value]]:
    """(operand, table, operand, table) of two products with constants, either first."""
    left, right = (_with_constant(rw, value) for value in node.inputs)
    pairs = [pair for one in left for other in right for pair in ((one, other), (other, one))]
    return [(*one, *other) for one, other in pairs]


def _with_constant(rw: Rewriter, value: ir.Value | None) -> list[tuple[ir.Value, ir.Value]]:
    """(operand, table) of a Mul by a constant that keeps the operand's shape."""
    node = rw.producer(value, "Mul")
    if node is None:
        return []
    left, right = node.inputs
    assert left is not None
    assert right is not None
    pairs = ((left, right), (right, left))
    return [(x, table) for x, table in pairs if rw.constant(table) is not None and rw.same_shape(x, node.outputs[0])]


def _turned(
    rw: Rewriter, x: ir.Value, one: One, negated: tuple[bool, bool], cos: ir.Value, sin: ir.Value
) -> ir.Value | None:
    shape = rw.shape(x)
    assert shape is not None
    tables = [_rows(rw, table, shape, len(shape) - 1) for table in (cos, sin)]
    if tables[0] is None or tables[1] is None or tables[0][0] != tables[1][0]:
        return None
    halves, sign = one.halves, -1 if negated[1] else 1

    def second(array: Array) -> Array:
        return _of_each_pair(array, 1, halves)

    cos_rows, sin_rows = tables[0][1], tables[1][1]
    if not np.array_equal(_of_each_pair(cos_rows, 0, halves), second(cos_rows)):
        return None
    first_sign = 1 if negated[0] else -1
    if not np.array_equal(_of_each_pair(sin_rows, 0, halves) * first_sign, second(sin_rows) * sign):
        return None
    axis, order = tables[0][0], "halves" if halves else "neighbours"
    rows = _maker(shape, len(shape) - 1)
    return _embedding(
        rw,
        x,
        axis,
        _Table(cos, order, lambda array: second(rows(array))),
        _Table(sin, f"{order} {sign}", lambda array: second(rows(array)) * array.dtype.type(sign)),
        interleaved=not halves,
    )


def _with_signs_in_table(
    rw: Rewriter, x: ir.Value, one: One, negated: tuple[bool, bool], cos: ir.Value, sin: ir.Value
) -> ir.Value | None:
    table, size = rw.constant(sin), (rw.shape(x) or ())[-1]
    if not one.halves or negated != (True, False) or table is None or table.ndim == 0 or table.shape[-1] != size:
        return None
    half, axis = size // 2, len(rw.shape(x) or ()) - 1
    signed = rw.derived(sin, "signed", lambda array: np.concatenate([-array[..., :half], array[..., half:]], -1))
    exchanged = rw.op.Concat(rw.cut(x, axis, half, size), rw.cut(x, axis, 0, half), axis=axis)
    return rw.op.Add(rw.op.Mul(x, cos), rw.op.Mul(exchanged, signed))  # type: ignore[no-any-return]


@plugin.rewrite("Concat", opset=23)
def _of_products(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The form with first and second numbers apart."""
    if len(node.inputs) != 2:
        return None
    (nodes, less, _), (others, more, _) = (behind(rw, value, *LAYOUT) for value in node.inputs)
    difference, total = rw.producer(less, "Sub"), rw.producer(more, "Add")
    if difference is None or total is None or less is None or not rw.same_shape(less, more):  # type: ignore[arg-type]
        return None
    for a, cos, b, sin in _products(rw, difference)[::2]:  # what is taken off comes second
        for other_b, other_cos, other_a, other_sin in _products(rw, total):
            if (other_a, other_b, other_cos, other_sin) != (a, b, cos, sin):
                continue
            first, second = one_of_pairs(rw, a), one_of_pairs(rw, b)
            if first is None or second is None or not are_pairs(first, second) or first.negative or second.negative:
                continue
            axes = through(rw, nodes, first.axes)
            if axes is None or axes != through(rw, others, first.axes):
                continue
            return _from_root(rw, first, cos, sin, together(first, rw.attr(node, "axis") % len(axes), axes))
    return None


def _from_root(rw: Rewriter, one: One, cos: ir.Value, sin: ir.Value, axes: Axes) -> ir.Value | None:
    """Pairs turned where they are in the root, with the axes that their reader wants."""
    if not one.rest or one.rest not in one.axes:
        return None
    place = one.axes.index(one.rest)
    shape = [part[0].size if len(part) == 1 else 1 if not part else None for part in one.axes]
    if None in shape:
        return None
    tables = [_rows(rw, table, shape, place) for table in (cos, sin)]
    if tables[0] is None or tables[1] is None or tables[0][0] != tables[1][0]:
        return None
    length = tables[0][0]
    target = (*one.axes[:place], *one.axes[place + 1 :], one.whole)
    x = rw.arranged(one.root, rw.axes(one.root), target)
    rows = _maker(shape, place)
    if x is None:
        return None
    cosines, sines = (_Table(table, f"rows {place}", rows) for table in (cos, sin))
    result = _embedding(rw, x, length - (place < length), cosines, sines, interleaved=not one.halves)
    return None if result is None else rw.arranged(result, target, axes)


# -- Tables ------------------------------------------------------------------------------------------------------------


def _rows(rw: Rewriter, value: ir.Value, shape: Any, last: int) -> tuple[int, Array] | None:
    """The axis besides `last` along which a table varies, and its rows; None if it varies along none or several."""
    table = rw.constant(value)
    if table is None or table.ndim > len(shape):
        return None
    full = (1,) * (len(shape) - table.ndim) + table.shape
    varying = [axis for axis, size in enumerate(full) if size != 1 and axis != last]
    if len(varying) != 1 or full[last] != shape[last] or full[varying[0]] != shape[varying[0]]:
        return None
    return varying[0], _maker(shape, last)(table)


def _maker(shape: Any, last: int) -> Callable[[Array], Array]:
    """Takes a table that varies along one axis besides `last` to rows."""

    def rows(table: Array) -> Array:
        full = table.reshape((1,) * (len(shape) - table.ndim) + table.shape)
        return np.moveaxis(full, last, -1).reshape(-1, full.shape[last])

    return rows


def _of_each_pair(rows: Array, place: int, halves: bool) -> Array:
    half = rows.shape[-1] // 2
    return rows[..., place * half : (place + 1) * half] if halves else rows[..., place::2]


# -- The operator ------------------------------------------------------------------------------------------------------


def _embedding(rw: Rewriter, x: ir.Value, axis: int, cos: _Table, sin: _Table, *, interleaved: bool) -> ir.Value | None:
    """The operator wants [batch, heads, length, size]; around attention the changes of layout cancel."""
    rank = len(rw.shape(x) or ())
    if rw.opset < 23 or x.dtype not in _DTYPES or rank not in (3, 4) or axis not in (rank - 2, rank - 3):
        return None
    tokens_first, batched = axis == rank - 3, rank == 4
    first = rw.const([0], np.int64)
    rows = x if batched else rw.op.Unsqueeze(x, first)
    heads_first = rw.op.Transpose(rows, perm=_SWAP) if tokens_first else rows
    turned = _looked_up(rw, heads_first, cos, sin, interleaved=1 if interleaved else None)
    rows = rw.op.Transpose(turned, perm=_SWAP) if tokens_first else turned
    result: ir.Value = rows if batched else rw.op.Squeeze(rows, first)
    return result


def _looked_up(rw: Rewriter, x: ir.Value, cos: _Table, sin: _Table, **attributes: Any) -> ir.Value:
    """The tables are looked up by position, the same for each row of the batch."""
    batch, _, length, _ = rw.shape(x) or ()
    if batch == 1:
        cos, sin = (replace(table, how=f"row, {table.how}", make=_as_row(table.make)) for table in (cos, sin))
        return rw.op.RotaryEmbedding(x, _stored(rw, cos), _stored(rw, sin), **attributes)  # type: ignore[no-any-return]
    positions = rw.rows(rw.const(np.arange(length)[None], np.int64), (batch, length))
    return rw.op.RotaryEmbedding(x, _stored(rw, cos), _stored(rw, sin), positions, **attributes)  # type: ignore[no-any-return]


def _as_row(make: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda array: make(array)[None]


def _stored(rw: Rewriter, table: _Table) -> ir.Value:
    return rw.derived(table.source, table.how, table.make)


@plugin.rewrite("Concat", opset=23)
def _of_a_part(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The first numbers of each head are turned, the others go by."""
    if len(node.inputs) != 2:
        return None
    outer, value, _ = behind(rw, node.inputs[0], *LAYOUT)
    others, rest_value, _ = behind(rw, node.inputs[1], *LAYOUT)
    turned, rest = rw.producer(value, "RotaryEmbedding"), rw.slice_of(rest_value)
    if turned is None or value is None or rest is None or not rw.only_use(value) or len(rw.shape(value) or ()) != 4:
        return None
    inner, start, _ = behind(rw, turned.inputs[0], *LAYOUT)
    cut, own = rw.slice_of(start), rw.axes(rest.source)
    if cut is None or cut.source is not rest.source or rw.attr(turned, "rotary_embedding_dim", 0):
        return None
    last = len(own) - 1
    if not cut.axis == rest.axis == last == rw.attr(node, "axis") % len(rw.shape(node.outputs[0]) or ()):
        return None
    if (cut.start, cut.stop, rest.stop) != (0, rest.start, (rw.shape(cut.source) or ())[last]):
        return None
    part = rw.axes(cut.value)
    turned_axes = through(rw, inner, part)
    axes, rest_axes = through(rw, outer, turned_axes), through(rw, others, rw.axes(rest.value))
    if turned_axes is None or axes is None or rest_axes is None or not part[-1]:
        return None
    if not turned_axes[-1] == axes[-1] == part[-1] or (*axes[:-1], rw.axes(rest.value)[-1]) != rest_axes:
        return None
    target = (*turned_axes[:-1], own[-1])
    x = rw.arranged(cut.source, own, target)
    if x is None:
        return None
    attributes = rw.attrs(turned)
    result = rw.op.RotaryEmbedding(x, *turned.inputs[1:], **attributes, rotary_embedding_dim=cut.stop)
    return rw.arranged(result, target, (*axes[:-1], own[-1]))
