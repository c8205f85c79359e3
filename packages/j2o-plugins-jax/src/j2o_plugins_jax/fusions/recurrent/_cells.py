"""The cells of ONNX's LSTM, GRU and RNN, however their gates are ordered, joined and biased.

LSTM   c' = f * c + i * g              h' = o * tanh(c')
GRU    n = tanh(x @ W + r * (h @ R))   h' = (1 - z) * n + z * h     linear_before_reset=1
       n = tanh(x @ W + (r * h) @ R)   h' = (1 - z) * n + z * h     linear_before_reset=0
RNN    h' = tanh(x @ W + h @ R)

with i, o, f, z, r = sigmoid(x @ W + h @ R) and g = tanh(x @ W + h @ R), of matrices of their own, and with biases. The
GRU whose update gate weighs n in the place of h has -z in front of the sigmoid. An LSTM may have peepholes: i and f see
p * c too, and o sees p * c', of vectors of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from j2o_core import Rewriter

from ._body import Body, Columns, Linear, Product


@dataclass(frozen=True)
class Gate:
    """The sum in front of a gate's activation.

    Attributes:
        item: the product of the item.
        hidden: that of the hidden state.
        biases: vectors beside them.
        hidden_biases: vectors that a reset gate weighs together with the product of the hidden state.
        negated: whether the whole is negated.
        peephole: the vector that weighs the cell state in the sum.
    """

    item: Product
    hidden: Product
    biases: list[Columns]
    hidden_biases: list[Columns] = field(default_factory=list)
    negated: bool = False
    peephole: Columns | None = None


@dataclass(frozen=True)
class Cell:
    """A recurrent operator.

    Attributes:
        op_type: the operator.
        gates: in the operator's order.
        states: the places of the hidden state and of an LSTM's cell state among the carried values.
        attributes: of the operator.
    """

    op_type: str
    gates: list[Gate]
    states: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


def find_cell(rw: Rewriter, body: Body) -> Cell | None:
    """The cell that a body computes, None if it computes anything else."""
    if len(body.states) == 2:
        return _lstm(rw, body, 0, 1) or _lstm(rw, body, 1, 0)
    return (_gru(rw, body) or _rnn(body)) if len(body.states) == 1 else None


def _lstm(rw: Rewriter, body: Body, hidden: int, cell: int) -> Cell | None:
    h, c, new_c = body.states[hidden], body.states[cell], body.next_states[cell]
    for o, squashed in _factors(rw, body, body.next_states[hidden]):
        tanh = body.made_by(squashed, "Tanh")
        if tanh is None or tanh.inputs[0] is not new_c:
            continue
        for kept, added in rw.both_ways(body.made_by(new_c, "Add")):
            for f, state in _factors(rw, body, kept):
                for i, g in _factors(rw, body, added) if state is c else ():
                    gates = [
                        _gate(body, value, "Sigmoid", h, cell=seen) for value, seen in ((i, c), (o, new_c), (f, c))
                    ]
                    gates.append(_gate(body, g, "Tanh", h))
                    found = [gate for gate in gates if gate is not None]
                    if len(found) == len(gates):
                        return Cell("LSTM", found, (hidden, cell))
    return None


def _rnn(body: Body) -> Cell | None:
    for activation in ("Tanh", "Relu"):
        gate = _gate(body, body.next_states[0], activation, body.states[0])
        if gate is not None:
            return Cell("RNN", [gate], (0,), {} if activation == "Tanh" else {"activations": [activation]})
    return None


def _gru(rw: Rewriter, body: Body) -> Cell | None:
    h = body.states[0]
    for z, n, weighs_n in _mixtures(rw, body):
        update = _gate(body, z, "Sigmoid", h, negated=weighs_n)
        tanh = body.made_by(n, "Tanh")
        if update is None or tanh is None:
            continue
        new = body.linear(tanh.inputs[0], 0, body.width(n))
        for reset, gate, before in (*_resets_of_state(rw, body, new), *_resets_of_product(rw, body, new)):
            return Cell("GRU", [update, reset, gate], (0,), {"linear_before_reset": 1} if before else {})
    return None


def _mixtures(rw: Rewriter, body: Body) -> Iterator[tuple[ir.Value, ir.Value, bool]]:
    """(z, n, whether z weighs n) of a state that lies between n and the one before, z of the way."""
    h = body.states[0]
    for left, right in rw.both_ways(body.made_by(body.next_states[0], "Add")):
        for z, other in _factors(rw, body, right):
            difference = body.made_by(other, "Sub")  # n + z * (h - n), h + z * (n - h)
            if difference is not None and difference.inputs[1] is left:
                minuend = difference.inputs[0]
                if left is h or minuend is h:
                    yield z, minuend if left is h else left, left is h  # type: ignore[misc]
            for rest, mixed in _factors(rw, body, left):  # (1 - z) * n + z * h, (1 - z) * h + z * n
                one = body.made_by(rest, "Sub")
                if one is None or one.inputs[1] is not z or rw.scalar(one.inputs[0]) != 1:
                    continue
                if other is h or mixed is h:
                    yield z, mixed if other is h else other, mixed is h


def _resets_of_state(rw: Rewriter, body: Body, new: Linear) -> Iterator[tuple[Gate, Gate, bool]]:
    """(r, n, False) of n in front of its tanh: x @ W + (r * h) @ R."""
    for product in new.products:
        for r, state in _factors(rw, body, product.operand):
            reset = _gate(body, r, "Sigmoid", state) if state is body.states[0] else None
            gate = _joined(body, new, product.operand)
            if reset is not None and gate is not None:
                yield reset, gate, False


def _resets_of_product(rw: Rewriter, body: Body, new: Linear) -> Iterator[tuple[Gate, Gate, bool]]:
    """(r, n, True) of n in front of its tanh: x @ W + r * (h @ R + b)."""
    h = body.states[0]
    if len(new.products) != 1 or len(new.others) != 1:
        return
    weighed = new.others[0]
    for r, value in _factors(rw, body, weighed.value):
        reset = _gate(body, r, "Sigmoid", h)
        inner = body.linear(value, weighed.start, weighed.stop)
        hidden = inner.of(h)
        if reset is not None and hidden is not None and len(inner.products) == 1 and not inner.others:
            yield reset, Gate(new.products[0], hidden, new.biases, inner.biases), True


def _factors(rw: Rewriter, body: Body, value: ir.Value | None) -> list[tuple[ir.Value, ir.Value]]:
    """The operands of a product of two values of the body, in both orders."""
    pairs = rw.both_ways(body.made_by(value, "Mul"))
    return [(left, right) for left, right in pairs if left is not None and right is not None]


def _gate(
    body: Body, value: ir.Value, activation: str, h: ir.Value, *, negated: bool = False, cell: ir.Value | None = None
) -> Gate | None:
    columns = body.columns(value, 0, body.width(value))
    node = body.made_by(columns.value, activation)
    if node is None:
        return None
    return _joined(body, body.linear(node.inputs[0], columns.start, columns.stop), h, negated=negated, cell=cell)


def _joined(
    body: Body, linear: Linear, hidden: ir.Value, *, negated: bool = False, cell: ir.Value | None = None
) -> Gate | None:
    """The gate of a product of a sequence, one of the hidden state, vectors, and one peephole at most; else None."""
    product = linear.of(hidden)
    items = [one for one in linear.products if body.is_sequence(one.operand)]
    peepholes = [body.weight_of(cell, other) for other in linear.others]
    if product is None or len(items) != 1 or len(linear.products) != 2 or None in peepholes[:1] or len(peepholes) > 1:
        return None
    return Gate(items[0], product, linear.biases, negated=negated, peephole=next(iter(peepholes), None))
