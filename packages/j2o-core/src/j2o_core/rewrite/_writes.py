"""Rows that are written at known places one after the other, as by an unrolled loop over `x.at[i].set`.

before: y = ScatterND(x, [[3]], u), z = Slice(y, 5, 6)                after: z = Slice(x, 5, 6)
before: y = ScatterND(x, [[3]], u), z = Slice(y, 3, 4)                after: z = u
before: z = ScatterND(ScatterND(x, [[3]], u), [[5]], v)               after: z = ScatterND(x, [[3], [5]], Concat(u, v))

ScatterElements of one axis is the same. Declines for reductions, for places that are computed, and where a row is
written twice or the value between is read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ._plugin import plugin
from ._rewriter import Rewriter

_WRITES = ("ScatterElements", "ScatterND")


class _Write(NamedTuple):
    """`data` with `updates` in these rows."""

    node: ir.Node
    data: ir.Value
    rows: np.ndarray
    updates: ir.Value


def _write(rw: Rewriter, value: ir.Value | None) -> _Write | None:
    node = rw.producer(value, *_WRITES)
    if node is None or rw.attr(node, "reduction", "none") != "none":
        return None
    data, indices, updates = node.inputs
    shape, places = rw.shape(data), rw.constant(indices)
    if data is None or updates is None or places is None or not shape or not isinstance(shape[0], int):
        return None
    is_rows = len(shape) == 1 if node.op_type == "ScatterElements" else places.ndim == 2 and places.shape[1] == 1
    is_inside = places.size and places.min() >= -shape[0] and places.max() < shape[0]
    return _Write(node, data, places.reshape(-1) % shape[0], updates) if is_rows and is_inside else None


@plugin.rewrite("Slice", needs=_WRITES)
def _read_before_write(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """A Slice of rows that were not written, or that are what was written."""
    part = rw.slice_of(node.outputs[0])
    if part is None or part.axis != 0:
        return None
    source, read = part.source, np.arange(part.start, part.stop)
    while (write := _write(rw, source)) is not None:
        if np.array_equal(write.rows, read):
            return write.updates
        if np.isin(read, write.rows).any():
            break
        source = write.data
    return None if source is part.source else rw.cut(source, 0, part.start, part.stop)


@plugin.rewrite(*_WRITES, late=True)
def _written_at_once(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Rows that are written one after the other."""
    value = node.outputs[0]
    last = _write(rw, value)
    if last is None or (rw.only_use(value) and _is_written_again(rw, value)):
        return None
    writes, rows = [last], set(last.rows.tolist())
    while (write := _write(rw, writes[-1].data)) is not None and rw.only_use(writes[-1].data):
        is_like = write.node.op_type == node.op_type and write.node.graph is node.graph
        if not is_like or rows.intersection(write.rows.tolist()):
            break
        writes.append(write)
        rows.update(write.rows.tolist())
    if len(writes) == 1 or len(rows) < sum(write.rows.size for write in writes):
        return None
    data = writes[-1].data
    writes.sort(key=lambda write: int(write.rows[0]))
    places = np.concatenate([write.rows for write in writes])
    updates = rw.op.Concat(*(write.updates for write in writes), axis=0)
    if np.array_equal(places, np.arange((rw.shape(data) or (0,))[0])):
        return updates
    places = places if node.op_type == "ScatterElements" else places[:, None]
    return rw.op(node.op_type, data, rw.const(places, np.int64), updates, **rw.attrs(node))  # type: ignore[no-any-return]


def _is_written_again(rw: Rewriter, value: ir.Value) -> bool:
    ((user, _),) = value.uses()
    again = _write(rw, user.outputs[0]) if user.op_type in _WRITES else None
    return again is not None and again.data is value
