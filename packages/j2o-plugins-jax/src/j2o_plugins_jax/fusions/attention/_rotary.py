"""RotaryEmbedding-23.

before: a, b = Split(x, 2 parts); y = x * cos + Concat(Neg(b), a) * sin
    or  y = Concat(a * cos - b * sin, b * cos + a * sin)
after:  y = RotaryEmbedding(x, cos, sin)                                     at opset 23 and later

a and b are halves of the last axis, or its even and odd numbers (interleaved). In the first form each number of a table
stands there for a and for b. x has shape [batch, heads, length, size] or [batch, length, heads, size], or one of these
without batch, and may have been moved there. Declines for other ranks, for tables that vary by head, and for float64.

Constant tables vary by position alone, and are looked up by it; there the sign may be in the table of sines. Tables
that are computed (of positions that are an input, or gathered by them) may vary by batch, too. The operator takes one
number for each pair: the graph must show that both are equal, see `_per_pair`. ONNX Runtime takes no tables of one row
for a batch of several, so they are broadcast to each.

before: y = Concat(RotaryEmbedding(x[..., :n]), x[..., n:])                  a part of each head
after:  y = RotaryEmbedding(x, rotary_embedding_dim=n)

before: y = x * cos + Concat(Neg(b), a) * sin                                halves, where the operator declines
after:  y = x * cos + Concat(b, a) * sin'                                    sin' is negative in its first half
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits

from ..._plugin import plugin
from .._half import UP_TO_FLOAT32
from ._pairs import Axes, PairMember, are_pairs, behind, joined_axes, pair_member, swapped
from ._per_pair import Made, per_pair

_SWAP = (0, 2, 1, 3)
_TOO_OLD = "the operator begins with opset 23, the program has {opset}"

Array = np.ndarray[Any, Any]
# The operands of the operator that hold its tables, for an x of shape [batch, heads, length, size].
Tables = Callable[[ir.Value], tuple[ir.Value, ...]]


@dataclass(frozen=True)
class _Table:
    """Rows [length, pairs] made from a constant; `how` names the way, so that each is made once."""

    source: ir.Value
    how: str
    make: Callable[[Array], Array]


@plugin.rewrite("Add", makes="RotaryEmbedding", needs=("Concat",))
def _of_swapped(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The form with the numbers of each pair exchanged."""
    for x, cos, other, sin in _products(rw, node):
        found = swapped(rw, other)
        if found is None:
            continue
        (one, axes, negated), view = found, rw.view(x)
        if view is None or view.root is not one.root or view.axes != axes or axes[-1] != one.whole:
            continue
        ways = (_turned, _with_signs_in_table)
        for way in ways if rw.opset >= 23 else ways[::-1]:  # below, the first one is for the reason alone
            if (result := way(rw, x, one, negated, cos, sin)) is not None:
                return result
        rw.decline("the tables differ within a pair, vary by head, or do not vary by position alone")
    return None


def _products(rw: Rewriter, node: ir.Node) -> list[tuple[ir.Value, ir.Value, ir.Value, ir.Value]]:
    """(operand, table, operand, table) of two products with tables, either first."""
    left, right = (_with_table(rw, value) for value in node.inputs)
    pairs = [pair for one in left for other in right for pair in ((one, other), (other, one))]
    return [(*one, *other) for one, other in pairs]


def _with_table(rw: Rewriter, value: ir.Value | None) -> list[tuple[ir.Value, ir.Value]]:
    """(operand, table) of a Mul that keeps the operand's shape; below opset 23 the table is a constant."""
    return [
        (x, table)
        for x, table in rw.both_ways(rw.producer(value, "Mul"))
        if x is not None and table is not None and rw.same_shape(x, value)
        if rw.opset >= 23 or rw.constant(table) is not None
    ]


def _turned(
    rw: Rewriter, x: ir.Value, one: PairMember, negated: tuple[bool, bool], cos: ir.Value, sin: ir.Value
) -> ir.Value | None:
    shape = rw.shape(x)
    assert shape is not None
    known_cos, known_sin = rw.constant(cos), rw.constant(sin)
    if known_cos is None or known_sin is None:
        return _turned_by_computed(rw, x, one, negated, cos, sin)
    place = len(shape) - 1
    axis = _axis_of_rows(shape, place, known_cos, known_sin)
    if axis is None:
        return None
    if rw.opset < 23:
        return rw.decline(_TOO_OLD.format(opset=rw.opset))
    halves, sign = one.halves, -1 if negated[1] else 1

    def second(array: Array) -> Array:
        return _of_each_pair(array, 1, halves)

    rows = _maker(shape, place)
    cos_rows, sin_rows = rows(known_cos), rows(known_sin)
    if not np.array_equal(_of_each_pair(cos_rows, 0, halves), second(cos_rows)):
        return None
    first_sign = 1 if negated[0] else -1
    if not np.array_equal(_of_each_pair(sin_rows, 0, halves) * first_sign, second(sin_rows) * sign):
        return None
    order = "halves" if halves else "neighbours"
    cosines = _Table(cos, order, lambda array: second(rows(array)))
    sines = _Table(sin, f"{order} {sign}", lambda array: second(rows(array)) * array.dtype.type(sign))
    return _embedding(rw, x, axis, partial(_looked_up, rw, cosines, sines), interleaved=not halves)


def _turned_by_computed(
    rw: Rewriter, x: ir.Value, one: PairMember, negated: tuple[bool, bool], cos: ir.Value, sin: ir.Value
) -> ir.Value | None:
    shape = rw.shape(x) or ()
    distance = shape[-1] // 2 if one.halves else 1
    length = _length_axis(rw, shape, len(shape) - 1, cos, sin)
    if length is None or negated[0] == negated[1]:
        return None
    made: Made = {}

    def pairs(table: ir.Value, *, negative: bool = False) -> ir.Value | None:
        half = per_pair(rw, table, len(rw.shape(table) or ()) - 1, distance, made)
        return rw.op.Neg(half) if half is not None and negative else half

    place, opposite = len(shape) - 1, negated[1]
    cosines = _computed(rw, shape, place, length, cos, (distance, False), pairs)
    sines = _computed(rw, shape, place, length, sin, (distance, opposite), partial(pairs, negative=opposite))
    if cosines is None or sines is None:
        return None
    return _embedding(rw, x, length, lambda _: (cosines, sines), interleaved=not one.halves)


def _with_signs_in_table(
    rw: Rewriter, x: ir.Value, one: PairMember, negated: tuple[bool, bool], cos: ir.Value, sin: ir.Value
) -> ir.Value | None:
    table, size = rw.constant(sin), (rw.shape(x) or ())[-1]
    if not one.halves or negated != (True, False) or table is None or table.shape[-1:] != (size,):
        return None
    half, axis = size // 2, len(rw.shape(x) or ()) - 1
    signed = rw.derived(sin, "signed", lambda array: np.concatenate([-array[..., :half], array[..., half:]], -1))
    exchanged = rw.op.Concat(rw.cut(x, axis, half, size), rw.cut(x, axis, 0, half), axis=axis)
    return rw.op.Add(rw.op.Mul(x, cos), rw.op.Mul(exchanged, signed))


@plugin.rewrite("Concat", makes="RotaryEmbedding")
def _of_products(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The form with first and second numbers by themselves."""
    if len(node.inputs) != 2:
        return None
    (nodes, less, _), (others, more, _) = (behind(rw, value, *traits.LAYOUT) for value in node.inputs)
    difference, total = rw.producer(less, "Sub"), rw.producer(more, "Add")
    if difference is None or total is None:
        return None
    for a, cos, b, sin in _products(rw, difference)[::2]:  # the subtracted product comes second
        for other_b, other_cos, other_a, other_sin in _products(rw, total):
            if (other_a, other_b, other_cos, other_sin) != (a, b, cos, sin):
                continue
            first, second = pair_member(rw, a), pair_member(rw, b)
            if first is None or second is None or not are_pairs(first, second) or first.negative or second.negative:
                continue
            axes = rw.followed(nodes, first.axes)
            if axes is None or axes != rw.followed(others, first.axes):
                continue
            if rw.opset < 23:
                return rw.decline(_TOO_OLD.format(opset=rw.opset))
            result = _from_root(rw, first, cos, sin, joined_axes(first, rw.attr(node, "axis") % len(axes), axes))
            return result or rw.decline("the tables vary by head, or do not vary by position alone")
    return None


def _from_root(rw: Rewriter, one: PairMember, cos: ir.Value, sin: ir.Value, axes: Axes) -> ir.Value | None:
    """Pairs turned where they are in the root, with the axes that their reader wants."""
    if one.rest not in one.axes:
        return None
    place = one.axes.index(one.rest)
    shape = [math.prod(part.size for part in axis) for axis in one.axes]
    found = _tables_of_pairs(rw, shape, place, cos, sin)
    target = (*one.axes[:place], *one.axes[place + 1 :], one.whole)
    x = rw.arranged(one.root, rw.axes(one.root), target)
    if x is None or found is None:
        return None
    length, tables = found
    result = _embedding(rw, x, length - (place < length), tables, interleaved=not one.halves)
    return None if result is None else rw.arranged(result, target, axes)


# -- Tables ------------------------------------------------------------------------------------------------------------


def _axis_of_rows(shape: Any, last: int, *tables: Array) -> int | None:
    """The axis besides `last` along which each of the tables varies, None if it is not the same one for all."""
    sizes = [_of_any_batch(table, len(shape), last).shape for table in tables]
    varying = [[axis for axis, size in enumerate(full) if size != 1 and axis != last] for full in sizes]
    same = len(varying[0]) == 1 and all(axes == varying[0] for axes in varying)
    return varying[0][0] if same and all(full[last] == shape[last] for full in sizes) else None


def _maker(shape: Any, last: int) -> Callable[[Array], Array]:
    """Takes a table that varies along one axis besides `last` to rows."""

    def rows(table: Array) -> Array:
        full = _of_any_batch(table, len(shape), last)
        return np.moveaxis(full, last, -1).reshape(-1, full.shape[last])

    return rows


def _of_any_batch(table: Array, rank: int, last: int) -> Array:
    """A table with as many axes as x, the first of size 1 where positions were broadcast along it."""
    full = table.reshape((1,) * (rank - table.ndim) + table.shape)
    sizes = [size for axis, size in enumerate(full.shape) if axis != last]
    repeated = last != 0 and len(sizes) == 3 and sizes[0] > 1 and max(sizes[1:]) > 1 and bool((full == full[:1]).all())
    return full[:1] if repeated else full


def _tables_of_pairs(rw: Rewriter, shape: Any, place: int, cos: ir.Value, sin: ir.Value) -> tuple[int, Tables] | None:
    """The axis of positions, and the tables, of those that have one number for each pair along the axis `place`."""
    known_cos, known_sin = rw.constant(cos), rw.constant(sin)
    if known_cos is None or known_sin is None:
        length = _length_axis(rw, shape, place, cos, sin)
        if length is None:
            return None
        cosines, sines = (_computed(rw, shape, place, length, table, "", lambda half: half) for table in (cos, sin))
        return None if cosines is None or sines is None else (length, lambda _: (cosines, sines))
    axis = _axis_of_rows(shape, place, known_cos, known_sin)
    if axis is None:
        return None
    make = _maker(shape, place)
    cosine_table, sine_table = (_Table(table, f"rows {place}", make) for table in (cos, sin))
    return axis, partial(_looked_up, rw, cosine_table, sine_table)


def _of_each_pair(rows: Array, place: int, halves: bool) -> Array:
    half = rows.shape[-1] // 2
    return rows[..., place * half : (place + 1) * half] if halves else rows[..., place::2]


# -- Tables that are computed ------------------------------------------------------------------------------------------


def _length_axis(rw: Rewriter, shape: Any, last: int, *tables: ir.Value) -> int | None:
    """The axis of positions: of the two that are no batch the one along which a table varies, None if both are."""
    others = [axis for axis in range(len(shape)) if axis != last]
    varying: set[int] = set()
    for table in tables:
        own = rw.shape(table)
        if own is None:
            return None
        full = (1,) * (len(shape) - len(own)) + own
        if full[last] != shape[last]:
            return None
        varying |= {axis for axis in others if full[axis] != 1}
    # Of one token in each row, as in decoding, no table varies by position.
    found = [axis for axis in others[-2:] if axis in varying] or [axis for axis in others[-2:] if shape[axis] == 1][-1:]
    return found[0] if len(found) == 1 else None


def _computed(
    rw: Rewriter,
    shape: Any,
    last: int,
    length: int,
    table: ir.Value,
    how: Any,
    pairs: Callable[[ir.Value], ir.Value | None],
) -> ir.Value | None:
    """`pairs(table)` as [batch, length, pairs], made once for each way `how` it is made; None if it cannot be made."""
    batch = shape[min(axis for axis in range(len(shape)) if axis != last)] if len(shape) == 4 else 1

    def build() -> ir.Value | None:
        half = pairs(table)
        if half is None:
            return None
        own = rw.axes(half)
        full = ((),) * (len(shape) - len(own)) + own
        rest = [axis for axis in range(len(shape)) if axis not in (last, length)]
        rows = rw.arranged(half, own, (full[rest[0]] if len(shape) == 4 else (), full[length], full[last]))
        return None if rows is None else rw.expand(rows, (batch, shape[length], (rw.shape(rows) or ())[-1]))

    key = ("rotary", table, len(shape), last, length, str(batch), str(shape[length]), how)
    return rw.shared(key, build)  # type: ignore[arg-type]  # a None is asked for again


# -- The operator ------------------------------------------------------------------------------------------------------


def _embedding(rw: Rewriter, x: ir.Value, axis: int, tables: Tables, *, interleaved: bool) -> ir.Value | None:
    """The operator wants [batch, heads, length, size]; around attention the changes of layout cancel."""
    rank = len(rw.shape(x) or ())
    if x.dtype not in UP_TO_FLOAT32:
        return rw.decline(f"the dtype is {x.dtype}")
    if rank not in (3, 4) or axis not in (rank - 2, rank - 3):
        return rw.decline(f"x has rank {rank} and positions along axis {axis}, not [batch, heads, length, size]")
    tokens_first, batched = axis == rank - 3, rank == 4
    first = rw.const([0], np.int64)
    rows = x if batched else rw.op.Unsqueeze(x, first)
    heads_first = rw.op.Transpose(rows, perm=_SWAP) if tokens_first else rows
    turned = rw.op.RotaryEmbedding(heads_first, *tables(heads_first), interleaved=1 if interleaved else None)
    rows = rw.op.Transpose(turned, perm=_SWAP) if tokens_first else turned
    return rows if batched else rw.op.Squeeze(rows, first)


def _looked_up(rw: Rewriter, cos: _Table, sin: _Table, x: ir.Value) -> tuple[ir.Value, ...]:
    """Constant tables are looked up by position, the same for each row of the batch."""
    batch, _, length, _ = rw.shape(x) or ()
    if batch == 1:
        cos, sin = (replace(table, how=f"row, {table.how}", make=_as_row(table.make)) for table in (cos, sin))
        return _stored(rw, cos), _stored(rw, sin)
    positions = rw.rows(rw.const(np.arange(length)[None], np.int64), (batch, length))
    return _stored(rw, cos), _stored(rw, sin), positions


def _as_row(make: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda array: make(array)[None]


def _stored(rw: Rewriter, table: _Table) -> ir.Value:
    return rw.derived(table.source, table.how, table.make)


@plugin.rewrite("Concat", opset=23)
def _of_a_part(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The first numbers of each head are turned, the others go by."""
    if len(node.inputs) != 2:
        return None
    outer, value, _ = behind(rw, node.inputs[0], *traits.LAYOUT)
    others, rest_value, _ = behind(rw, node.inputs[1], *traits.LAYOUT)
    turned, rest = rw.producer(value, "RotaryEmbedding"), rw.slice_of(rest_value)
    if turned is None or value is None or rest is None or not rw.only_use(value) or len(rw.shape(value) or ()) != 4:
        return None
    inner, start, _ = behind(rw, turned.inputs[0], *traits.LAYOUT)
    cut, own = rw.slice_of(start), rw.axes(rest.source)
    if cut is None or cut.source is not rest.source:
        return None
    if (cut.start, cut.stop, rest.stop) != (0, rest.start, (rw.shape(cut.source) or ())[-1]):
        return None
    part = rw.axes(cut.value)
    turned_axes = rw.followed(inner, part)
    axes, rest_axes = rw.followed(outer, turned_axes), rw.followed(others, rw.axes(rest.value))
    if turned_axes is None or axes is None or rest_axes is None:
        return None
    if rw.attr(node, "axis") % len(axes) != len(axes) - 1:
        return None
    if not turned_axes[-1] == axes[-1] == part[-1] or (*axes[:-1], rw.axes(rest.value)[-1]) != rest_axes:
        return None
    target = (*turned_axes[:-1], own[-1])
    x = rw.arranged(cut.source, own, target)
    if x is None:
        return None
    size = rw.attr(turned, "rotary_embedding_dim", 0) or cut.stop
    attributes = rw.attrs(turned) | {"rotary_embedding_dim": size}
    result = rw.op.RotaryEmbedding(x, *turned.inputs[1:], **attributes)
    return rw.arranged(result, target, (*axes[:-1], own[-1]))
