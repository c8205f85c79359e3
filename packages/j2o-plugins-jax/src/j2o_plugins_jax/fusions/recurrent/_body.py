"""The body of a scan, whose values are sums of products of items and states."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from j2o_core import Rewriter
from j2o_core.graph._infer import same_shape


@dataclass(frozen=True)
class Columns:
    """`value[..., start:stop]`; of a value that is broadcast along its last axis, the value."""

    value: ir.Value
    start: int
    stop: int


@dataclass(frozen=True)
class Product:
    """`operand @ matrix[first:last, start:stop]`."""

    operand: ir.Value
    matrix: ir.Value
    first: int
    last: int
    start: int
    stop: int


@dataclass
class Linear:
    """A sum of products, of vectors that are the same in each turn, and of other values."""

    products: list[Product] = field(default_factory=list)
    biases: list[Columns] = field(default_factory=list)
    others: list[Columns] = field(default_factory=list)

    def of(self, operand: ir.Value) -> Product | None:
        """The product of an operand, None if there is none or more than one."""
        found = [product for product in self.products if product.operand is operand]
        return found[0] if len(found) == 1 else None


class Body:
    """The values that one turn reads and gives.

    Attributes:
        states: the carried values that a turn reads.
        next_states: those that it gives.
        stacked: what it gives beside them, one value for each stacked result of the scan.
    """

    def __init__(self, rw: Rewriter, scan: ir.Node):
        self._rw = rw
        self._graph: ir.Graph = scan.attributes["body"].as_graph()
        inputs = self._graph.inputs
        states = len(inputs) - scan.attributes["num_scan_inputs"].as_int()
        outputs = [self.origin(value) for value in self._graph.outputs]
        self.states = list(inputs[:states])
        self.next_states, self.stacked = outputs[:states], outputs[states:]
        sequences = [value for value in scan.inputs[states:] if value is not None]
        self._sequences = dict(zip(inputs[states:], sequences, strict=True))
        self._inputs = set(inputs)
        self._length = self.shape(sequences[0])[0]

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """A value's shape; that of a number if it is not known."""
        return self._rw.shape(value) or ()

    def width(self, value: ir.Value | None) -> int:
        """The size of a value's last axis."""
        return (self.shape(value) or (1,))[-1]

    def origin(self, value: ir.Value) -> ir.Value:
        """The value in front of Identity nodes."""
        while (node := self._rw.producer(value, "Identity")) is not None and node.inputs[0] is not None:
            value = node.inputs[0]
        return value

    def made_by(self, value: ir.Value | None, *op_types: str) -> ir.Node | None:
        """The node of the body that makes a value, if it is one of these operators."""
        node = self._rw.producer(self.origin(value), *op_types) if value is not None else None
        return node if node is not None and node.graph is self._graph else None

    def is_sequence(self, value: ir.Value) -> bool:
        """Whether a value of outside has one item for each turn, which has the rows of the states."""
        rows = self.shape(self.states[0])[:-1]
        return self._is_outer(value) and same_shape(self.shape(value)[:-1], (self._length, *rows))

    def columns(self, value: ir.Value, start: int, stop: int) -> Columns:
        """Columns of a value as those of what Split and Slice cut it from."""
        while True:
            value = self.origin(value)
            last = len(self.shape(value)) - 1
            split, cut = self._rw.producer(value, "Split"), self._rw.slice_of(value)
            if split is not None and split.attributes["axis"].as_int() in (-1, last):
                before = split.outputs[: list(split.outputs).index(value)]
                offset, source = sum(map(self.width, before)), split.inputs[0]
            elif cut is not None and cut.axis == last:
                offset, source = cut.start, cut.source
            else:
                return Columns(value, start, stop)
            assert source is not None
            value, start, stop = source, start + offset, stop + offset

    def linear(self, value: ir.Value | None, start: int, stop: int) -> Linear:
        """Columns of a value as a sum."""
        assert value is not None
        found, waiting = Linear(), [(Columns(value, start, stop), False)]
        while waiting:
            columns, outside = waiting.pop()
            if columns.stop <= self.width(columns.value):
                columns = self.columns(columns.value, columns.start, columns.stop)
            elif not self._is_vector(columns.value):
                found.others.append(columns)  # one column, broadcast to several
                continue
            value = columns.value
            find = self._rw.producer if outside else self.made_by
            if value in self._sequences:
                waiting.append((replace(columns, value=self._sequences[value]), True))
            elif self._is_vector(value):
                found.biases.append(columns)
            elif (total := find(value, "Add")) is not None:
                waiting += [(replace(columns, value=part), outside) for part in total.inputs if part is not None]
            elif (matmul := find(value, "MatMul")) is not None and (products := self._products(matmul, columns)):
                found.products += products
            else:
                found.others.append(columns)
        return found

    def weight_of(self, state: ir.Value | None, other: Columns) -> Columns | None:
        """The vector that weighs a state of its width in another value, None if that is anything else."""
        for vector, value in self._rw.both_ways(self.made_by(other.value, "Mul")):
            width, whole = self.width(state), vector is not None and value is not None and self.origin(value) is state
            if whole and self._is_vector(vector) and (other.start, other.stop) == (0, width):  # type: ignore[arg-type]
                return Columns(vector, 0, width)  # type: ignore[arg-type]
        return None

    def _products(self, node: ir.Node, columns: Columns) -> list[Product]:
        """Those of a MatMul, one for each part of what Concat joins along the rows of the matrix; none of others."""
        operand, matrix = node.inputs
        assert operand is not None
        assert matrix is not None
        sizes = self.shape(matrix)
        if not self._is_outer(matrix) or len(sizes) != 2 or sizes[1] < columns.stop:
            return []
        concat = self._rw.producer(operand, "Concat")
        joins = concat is not None and concat.attributes["axis"].as_int() in (-1, len(self.shape(operand)) - 1)
        found, row = [], 0
        for part in concat.inputs if concat is not None and joins else [operand]:
            assert part is not None
            whole = self._sequences.get(self.origin(part), self.origin(part))
            size = self.width(part)
            found.append(Product(whole, matrix, row, row + size, columns.start, columns.stop))
            row += size
        return found

    def _is_outer(self, value: ir.Value) -> bool:
        node = value.producer()
        return value not in self._inputs and (node is None or node.graph is not self._graph)

    def _is_vector(self, value: ir.Value) -> bool:
        """Whether a value of outside is a number, or one for each column."""
        shape = self._rw.shape(value)
        known = shape is not None and all(isinstance(size, int) for size in shape)
        return known and self._is_outer(value) and math.prod(shape[:-1]) == 1  # type: ignore[index]
