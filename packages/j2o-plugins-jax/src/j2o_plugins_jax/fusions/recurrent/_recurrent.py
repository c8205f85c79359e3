"""Scans whose body is a gated cell, as LSTM, GRU or RNN.

before: Scan(h, c, MatMul(x, W); body: f, i, g, o = Split(Add(item, MatMul(h, R))) ... Mul(o, Tanh(c')))
after:  LSTM(Unsqueeze(x), W', R', B', , Unsqueeze(h), Unsqueeze(c))

The cells and the spellings that are found are those of `_cells`; reversed scans are reversed operators. The results
differ by rounding: ONNX Runtime's operators take the digits of its Sigmoid and Tanh. Their gates make numbers of NaN,
so that LSTM and GRU decline for nonfinite="exact". Declines for other element types than float32 and float64, for
states of more than one row axis, for rows that may be none (ONNX Runtime ends the process) or that the operator is slow
at, and where a turn gives anything else than the next hidden state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter
from j2o_core.graph._sizes import may_be_zero

from ..._plugin import plugin
from ._body import Body, Columns, Product
from ._cells import Cell, Gate, find_cell

_DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
# The operators go through rows one by one: RNN of three and more, LSTM and GRU of many short ones are slower than Scan.
_ROWS_OF_RNN = 2
_ROWS, _SHORT = 64, 64
_NUMBERS_OF_NAN = "NaN in front of a gate becomes a number, where JAX has NaN"


@plugin.rewrite("Scan", late=True, makes="LSTM, GRU or RNN")
def _recurrent(rw: Rewriter, scan: ir.Node) -> Sequence[ir.Value] | None:
    states = len(scan.inputs) - rw.attr(scan, "num_scan_inputs")
    shapes = [rw.shape(value) for value in scan.inputs[:states]]
    direction = _direction(rw, scan)
    if direction is None:
        return None
    if any(shape is None or len(shape) not in (1, 2) or may_be_zero(shape[0]) for shape in shapes):
        return None
    if not all(isinstance(shape[-1], int) for shape in shapes if shape is not None):
        return None
    if any(value is None or value.dtype not in _DTYPES for value in scan.inputs):
        return None
    body = Body(rw, scan)
    cell = find_cell(rw, body)
    if cell is None or not rw.target.runs(cell.op_type, scan.inputs[0].dtype):  # type: ignore[union-attr]
        return None
    if not _is_whole(rw, scan, body, cell):
        return rw.decline("a turn gives more than the next hidden state, or its gates weigh several sequences")
    if rw.exact_nonfinite and cell.op_type != "RNN":
        return rw.decline(f'nonfinite is "exact": {_NUMBERS_OF_NAN}')
    if _has_many_rows(cell, body.shape(body.states[0])):
        return rw.decline(f"{cell.op_type} of so many short rows is slower")
    return _operator(rw, scan, cell, direction)


def _direction(rw: Rewriter, scan: ir.Node) -> str | None:
    directions = set(rw.attr(scan, "scan_input_directions") or [0])
    if len(scan.outputs) > len(scan.inputs) - rw.attr(scan, "num_scan_inputs"):  # there are stacked results
        directions |= set(rw.attr(scan, "scan_output_directions") or [0])
    return {(0,): "forward", (1,): "reverse"}.get(tuple(directions))


def _is_whole(rw: Rewriter, scan: ir.Node, body: Body, cell: Cell) -> bool:
    """Whether a body gives nothing but the cell's hidden state, and its gates weigh one sequence."""
    hidden = body.next_states[cell.states[0]]
    h, item = body.states[cell.states[0]], cell.gates[0].item
    stacked = zip(scan.outputs[len(body.states) :], body.stacked, strict=True)
    return (
        all(value is hidden for result, value in stacked if result.uses() or result.is_graph_output())
        and all(rw.same_shape(h, state) for state in body.states)
        and all(gate.item.operand is item.operand for gate in cell.gates)
        and all(gate.hidden.stop - gate.hidden.start == body.width(h) for gate in cell.gates)
    )


def _has_many_rows(cell: Cell, shape: tuple[Any, ...]) -> bool:
    rows, size = math.prod(shape[:-1]), shape[-1]
    if cell.op_type == "RNN":
        return not isinstance(rows, int) or rows > _ROWS_OF_RNN
    return isinstance(rows, int) and rows > _ROWS and size < _SHORT


def _operator(rw: Rewriter, scan: ir.Node, cell: Cell, direction: str) -> Sequence[ir.Value]:
    x, h = cell.gates[0].item.operand, scan.inputs[cell.states[0]]
    rows, size = (rw.shape(h) or ())[:-1], (rw.shape(h) or ())[-1]
    length = (rw.shape(x) or ())[0]
    # Axes that the operator has and the scan has not: of directions, and of rows where there is one.
    added = [0] if rows else [0, 1]
    sequence = x if rows else rw.op.Unsqueeze(x, rw.const([1], np.int64))
    initial = [scan.inputs[place] for place in cell.states]
    are_zero = [rw.scalar(rw.before(value, "Expand")) == 0 for value in initial]
    axes = rw.const(added, np.int64)
    states = [None if zero else rw.op.Unsqueeze(x, axes) for x, zero in zip(initial, are_zero, strict=True)]
    zeros = rw.const(np.zeros(size), x)
    peepholes = [_sum(rw, [gate.peephole] if gate.peephole is not None else [], size) for gate in cell.gates[:3]]
    results = rw.op(
        cell.op_type,
        sequence,
        _matrices(rw, [gate.item for gate in cell.gates], cell.gates, "W"),
        _matrices(rw, [gate.hidden for gate in cell.gates], cell.gates, "R"),
        _biases(rw, cell.gates, size),
        None,
        *states,
        *([_row(rw, peepholes, zeros, "P", [gate.peephole for gate in cell.gates])] if any(peepholes) else []),
        outputs=1 + len(cell.states),
        hidden_size=size,
        direction=None if direction == "forward" else direction,
        **cell.attributes,
    )
    rows = rows or (1,)
    rw.shaped(results[0], (length, 1, *rows, size))
    for last in results[1:]:
        rw.shaped(last, (1, *rows, size))
    if cell.op_type != "RNN":
        rw.only_finite(results[0], _NUMBERS_OF_NAN)
    given: list[Any] = [None] * len(cell.states)
    for place, last in zip(cell.states, results[1:], strict=True):
        given[place] = rw.op.Squeeze(last, axes)
    stacked = rw.op.Squeeze(results[0], rw.const([axis + 1 for axis in added], np.int64))
    return [*given, *[stacked] * (len(scan.outputs) - len(given))]


def _matrices(rw: Rewriter, products: Sequence[Product], gates: Sequence[Gate], letter: str) -> ir.Value:
    """[1, gates * size, inner]: the matrices of all gates, one below the other."""
    arrays = rw.constants(one.matrix for one in products)
    if arrays is not None:
        parts = [
            (-array if gate.negated else array)[one.first : one.last, one.start : one.stop].T
            for array, one, gate in zip(arrays, products, gates, strict=True)
        ]
        name = _name(rw, [one.matrix for one in products], letter)
        return rw.op.constants.get(np.concatenate(parts)[np.newaxis], name)
    values = []
    for one, gate in zip(products, gates, strict=True):
        rows = rw.cut(one.matrix, 0, one.first, one.last)
        part = rw.op.Transpose(rw.cut(rows, 1, one.start, one.stop), perm=[1, 0])
        values.append(rw.op.Neg(part) if gate.negated else part)
    joined = rw.op.Concat(*values, axis=0)
    return rw.op.Unsqueeze(joined, rw.const([0], np.int64))


def _biases(rw: Rewriter, gates: Sequence[Gate], size: int) -> ir.Value | None:
    """[1, 2 * gates * size]: those beside the products of items, then those beside the products of states."""
    zeros = rw.const(np.zeros(size), gates[0].item.operand)
    vectors = [_sum(rw, gate.biases, size, negated=gate.negated) for gate in gates]
    vectors += [_sum(rw, gate.hidden_biases, size) for gate in gates]
    if all(vector is None for vector in vectors):
        return None
    return _row(rw, vectors, zeros, "B", [one for gate in gates for one in (*gate.biases, *gate.hidden_biases)])


def _row(
    rw: Rewriter, vectors: Sequence[ir.Value | None], zeros: ir.Value, letter: str, parts: Sequence[Columns | None]
) -> ir.Value:
    """[1, vectors * size]: vectors one behind the other, zeros for None; the parts that they are made of name it."""
    values = [zeros if vector is None else vector for vector in vectors]
    arrays = rw.constants(values)
    if arrays is not None:
        name = _name(rw, [part.value for part in parts if part is not None], letter)
        return rw.op.constants.get(np.concatenate(arrays)[np.newaxis], name)
    joined = rw.op.Concat(*values, axis=0)
    return rw.op.Unsqueeze(joined, rw.const([0], np.int64))


def _sum(rw: Rewriter, parts: Sequence[Columns], size: int, *, negated: bool = False) -> ir.Value | None:
    """The sum of vectors, None for none."""
    total: ir.Value | None = None
    for part in parts:
        width = (rw.shape(part.value) or (1,))[-1]
        vector = rw.reshape(part.value, [width])
        vector = rw.expand(vector, [size]) if width == 1 else rw.cut(vector, 0, part.start, part.stop)
        total = vector if total is None else _calculated(rw, "Add", np.add, total, vector)
    return total if total is None or not negated else _calculated(rw, "Neg", np.negative, total)


def _calculated(rw: Rewriter, op_type: str, function: Any, *values: ir.Value) -> ir.Value:
    """An operator of vectors; of constants, a constant."""
    arrays = rw.constants(values)
    return rw.op(op_type, *values) if arrays is None else rw.const(function(*arrays))


def _name(rw: Rewriter, values: Sequence[ir.Value], letter: str) -> str | None:
    """ONNX's letter for a weight of the module that the constants are of."""
    names = [name for value in values if (name := rw.op.constants.hint(value)) is not None]
    parents = [name.rpartition(".")[0].split(".") for name in names]
    common = [parts[0] for parts in zip(*parents, strict=False) if len(set(parts)) == 1]
    return ".".join([*filter(None, common), letter]) if names else None
