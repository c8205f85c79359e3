"""Arithmetic of components as arithmetic of vectors: superword-level parallelism, as LLVM calls it.

    before: Concat(a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0)
    after:  a[1, 2, 0] * b[2, 0, 1] - a[2, 0, 1] * b[1, 2, 0]

A node costs ONNX Runtime a third of a microsecond, however few numbers it has: products of quaternions, rotations and
cross products take a third of the nodes. The lanes of a Concat are computed as one value if that takes fewer nodes.
Each number is computed as before: x - y is x + -1 * y where only some lanes subtract.

Declines for large or symbolic sizes, for which the copies cost more, and for float16 and bfloat16: a chain of them is
rounded at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._values import is_float, made_by, shape_of, static_shape
from ..graph._walk import read_by
from ..plugin._plugin import Plugin
from ._invariants import has_half
from ._rewriter import Rewriter

# Rules that run when all fusions have found what they look for.
plugin = Plugin("lanes")

_MOST_NUMBERS = 4096
_MOST_COLUMNS = 256
_MOST_VALUES = 4096
_LONGEST_CHAIN = 8

_Shape = tuple[int, ...]
_Column = tuple[ir.Value, ...]


@plugin.rewrite("Concat")
def _vector_of_lanes(rw: Rewriter, node: ir.Node) -> dict[ir.Value, ir.Value] | None:
    shape = static_shape(node.outputs[0])
    if shape is None or not 0 < math.prod(shape) <= _MOST_NUMBERS or has_half(node):
        return None
    axis = rw.attr(node, "axis") % len(shape)
    column = tuple(value for value in node.inputs if value is not None)
    search = _Search(rw)
    found = [_lanes_of_lanes(column, shape, axis)]
    if all(one is not None and one[axis] == 1 for one in map(static_shape, column)):
        found.append((column, shape, axis))
    for lanes in found:
        plan = search.plan(*lanes, root=True) if lanes is not None else None
        if lanes is None or plan is None:
            continue
        others = search.read_elsewhere(lanes[0], node, plan)
        added = sum(one.nodes for one in plan.all())
        if others is None or added + bool(others) >= search.removed(node, plan, others):
            continue
        result = plan.value()
        parts = {
            value: rw.reshape(rw.cut(result, lanes[2], place, place + 1), shape_of(value))
            for value, place in others.items()
        }
        return {node.outputs[0]: rw.reshape(result, shape), **parts}
    return None


def _lanes_of_lanes(column: _Column, shape: _Shape, axis: int) -> tuple[_Column, _Shape, int] | None:
    """The lanes of the rows of a matrix as those of a vector, if each row is a Concat of lanes of one size."""
    before, lanes = math.prod(shape[:axis]), list[ir.Value]()
    for row in column:
        node, sizes = made_by(_origin(row), "Concat"), static_shape(_origin(row))
        if node is None or sizes is None:
            return None
        inner = node.attributes["axis"].as_int() % len(sizes)
        if math.prod(sizes[:inner]) != before:
            return None
        lanes += [value for value in node.inputs if value is not None]
    total = math.prod(shape)
    if {math.prod(static_shape(value) or ()) for value in lanes} != {total / len(lanes)}:
        return None
    return tuple(lanes), (before, len(lanes), total // (before * len(lanes))), 1


@dataclass
class _Plan:
    """A value that can be made of some lanes.

    Attributes:
        nodes: how many it takes, without those of its parts.
        build: makes it.
        reads: the values in the graph that it is made of.
        parts: the plans of its operands.
    """

    nodes: int
    build: Callable[[], ir.Value]
    reads: tuple[ir.Value, ...] = ()
    parts: tuple[_Plan, ...] = ()
    made: ir.Value | None = field(default=None, repr=False)

    def value(self) -> ir.Value:
        if self.made is None:
            self.made = self.build()
        return self.made

    def all(self) -> Iterator[_Plan]:
        seen: set[int] = set()
        stack = [self]
        while stack:
            plan = stack.pop()
            if id(plan) not in seen:
                seen.add(id(plan))
                yield plan
                stack += plan.parts


@dataclass(frozen=True)
class _Place:
    """A part of a value: a range along some of its axes."""

    source: ir.Value
    ranges: tuple[tuple[int, int], ...]


class _Search:
    def __init__(self, rw: Rewriter):
        self._rw = rw
        self._known: dict[tuple[_Column, _Shape, int], _Plan | None] = {}
        self._orders: dict[tuple[frozenset[ir.Value], _Shape, int], tuple[_Column, _Plan | None]] = {}

    def plan(self, column: _Column, shape: _Shape, axis: int, *, root: bool = False) -> _Plan | None:
        """How to make a value of this shape, whose parts along the axis are the lanes; None if it is not worth it."""
        column = tuple(map(_origin, column))
        key = column, shape, axis
        if key not in self._known:
            if len(self._known) >= _MOST_COLUMNS:  # cost: of the search
                return None
            self._known[key] = None  # a column does not depend on itself
            self._known[key] = (
                self._constant(column, shape, axis)
                or self._parts_of_one(column, shape, axis)
                or self._in_other_order(column, shape, axis)
                or self._computed(column, shape, axis)
                or (None if root else self._joined(column, shape, axis))
            )
            self._orders.setdefault((frozenset(column), shape, axis), (column, self._known[key]))
        return self._known[key]

    def operand(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        """The same for an operand, which may be one value for all lanes, without the axes in front."""
        first = _origin(column[0])
        if any(_origin(value) is not first for value in column):
            return self.plan(column, shape, axis)
        thin = (*shape[:axis], 1, *shape[axis + 1 :])
        while len(thin) > len(shape_of(column[0]) or ()) and thin[0] == 1:
            thin = thin[1:]
        return self._shaped(first, thin)

    def read_elsewhere(self, column: _Column, node: ir.Node, plan: _Plan) -> dict[ir.Value, int] | None:
        """The lanes with other readers, which read parts of the vector then; None if it depends on one of them."""
        lanes = {_origin(value): place for place, value in enumerate(column)}
        rows = [_origin(value) for value in node.inputs if value is not None]
        joins = {node, *(row.producer() for row in rows if set(_readers(row)) == {node})}
        read = {value for one in plan.all() for value in one.reads}
        others = {}
        for lane, place in lanes.items():
            made = lane.producer()
            if made is None or lane in read or made.graph is not node.graph or made.op_type not in traits.POINTWISE:
                continue
            if lane.is_graph_output() or not joins.issuperset(_readers(lane)):
                others[lane] = place
        return None if others and _depends(read, others) else others

    def removed(self, node: ir.Node, plan: _Plan, others: Container[ir.Value]) -> int:
        """How many nodes of the graph are no longer needed with a plan."""
        read = {value for one in plan.all() for value in one.reads}
        dead, stack = {node}, [node]
        while stack:
            for value in stack.pop().inputs:
                producer = value.producer() if value is not None else None
                if producer is None or producer.graph is not node.graph:
                    continue
                if producer in dead:  # cost: it is counted already
                    continue
                outputs = producer.outputs
                if any(one in read or (one.is_graph_output() and one not in others) for one in outputs):
                    continue
                if all(one in others or _origin(one) in others for one in outputs) or all(
                    user in dead for one in outputs for user, _ in one.uses()
                ):
                    dead.add(producer)
                    stack.append(producer)
        # Slices of one value are one Split, if none is left.
        slices = [one for one in dead if one.op_type == "Slice"]
        sources = {one.inputs[0] for one in slices}
        gone = sum(
            all(user in dead or user.op_type != "Slice" for user, _ in source.uses())
            for source in sources
            if source is not None
        )
        return len(dead) - len(slices) + gone

    # -- Columns -----------------------------------------------------------------------------------------------------

    def _constant(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        arrays = self._rw.constants(column)
        if arrays is None:
            return None
        known = [array.reshape((*shape[:axis], 1, *shape[axis + 1 :])) for array in arrays]
        return _Plan(0, lambda: self._rw.const(np.concatenate(known, axis)))

    def _parts_of_one(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        """Gather of a value, or the value itself."""
        places = [self._place(value) for value in column]
        first = places[0]
        if first is None or any(place is None or place.source is not first.source for place in places):
            return None
        ranges = [place.ranges for place in places if place is not None]
        differ = [place for place, values in enumerate(zip(*ranges, strict=True)) if len(set(values)) > 1]
        if not differ:
            return None
        along, behind = differ[0], differ[-1] + 1
        sizes = static_shape(first.source)
        assert sizes is not None
        starts = [
            int(np.ravel_multi_index([low for low, _ in one[along:behind]], sizes[along:behind])) for one in ranges
        ]
        cuts = [
            (place - (behind - along - 1 if place >= behind else 0), start, stop)
            for place, (start, stop) in enumerate(first.ranges)
            if not along <= place < behind and (start, stop) != (0, sizes[place])
        ]
        merged = (*sizes[:along], math.prod(sizes[along:behind]), *sizes[behind:])
        within = [stop - start for start, stop in first.ranges]
        within[along:behind] = [len(column)]
        if math.prod(within) != math.prod(shape):  # parts of several places, or of none
            return None
        if math.prod(within[:along]) != math.prod(shape[:axis]):
            return None
        in_order = starts == list(range(starts[0], starts[0] + len(starts)))
        whole = in_order and len(starts) == merged[along]
        source = first.source

        def build() -> ir.Value:
            def parts() -> ir.Value:
                value = self._rw.reshape(source, merged)
                for place, start, stop in cuts:
                    value = self._rw.cut(value, place, start, stop)
                if in_order:
                    return self._rw.cut(value, along, starts[0], starts[-1] + 1)
                return self._rw.op.Gather(value, self._rw.const(starts, np.int64), axis=along)

            gathered = self._rw.shared(("lanes", source, merged, tuple(cuts), along, tuple(starts)), parts)
            return self._rw.reshape(gathered, shape)

        nodes = (merged != sizes) + len(cuts) + (not whole) + (tuple(within) != shape)
        return _Plan(nodes, build, (source,))

    def _in_other_order(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        """Gather of the same lanes in another order."""
        lanes, plan = self._orders.get((frozenset(column), shape, axis), ((), None))
        if plan is None:
            return None
        order = [lanes.index(value) for value in column]

        def build() -> ir.Value:
            return self._rw.op.Gather(plan.value(), self._rw.const(order, np.int64), axis=axis)

        return _Plan(1, build, (), (plan,))

    def _computed(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        """One node in place of those of all lanes, which are of one operator, or Add and Sub."""
        nodes = [value.producer() for value in column]
        ops = {node.op_type if node is not None else "" for node in nodes}
        if "Neg" in ops and len(ops) > 1 and is_float(column[0]):
            return self._negated(column, shape, axis)
        if "Mul" in ops and len(ops) > 1:
            return self._scaled(column, shape, axis)
        known = [node for node in nodes if node is not None]
        if len(known) < len(column):
            return None
        op_type = known[0].op_type
        signs = None
        if ops == {"Add", "Sub"} and is_float(column[0]):
            op_type, signs = "Add", [1 if node.op_type == "Add" else -1 for node in known]
        elif len(ops) > 1 or op_type not in traits.POINTWISE or has_half(known[0]):
            return None
        lane = static_shape(column[0])
        if lane is None:
            return None
        attrs = self._rw.attrs(known[0])
        if any(self._rw.attrs(one) != attrs or len(one.inputs) != len(known[0].inputs) for one in known) or any(
            map(self._rw.difference, known)
        ):
            return None
        layout = _layout(lane, shape, axis)
        if layout is None:
            return None
        operands: list[_Plan | None] = []
        differ = signs is not None
        for index, values in enumerate(zip(*map(self._in_order(known[0]), known), strict=True)):
            if index and op_type in traits.MAPS:  # numbers, which are no lanes
                if any(value is not values[0] for value in values):
                    return None
                operands.append(None if values[0] is None else _existing(values[0]))
                continue
            plan = self._operand_of(values, layout, len(column))
            if plan is None:
                return None
            differ |= len({_origin(value) for value in values if value is not None}) > 1
            operands.append(plan)
        if not differ:
            return None  # one number for all lanes
        result = layout.with_lanes(lane, len(column))

        def build() -> ir.Value:
            inputs = [None if one is None else one.value() for one in operands]
            if signs is not None:
                assert inputs[1] is not None
                inputs[1] = self._times(inputs[1], _along(signs, result, layout.place))
            return self._rw.reshape(self._rw.op(op_type, *inputs, **attrs), shape)

        parts = tuple(one for one in operands if one is not None)
        return _Plan(1 + (signs is not None) + (result != shape), build, (), parts)

    def _negated(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        negated = [made_by(value, "Neg") for value in column]
        values = [value if node is None else node.inputs[0] for value, node in zip(column, negated, strict=True)]
        plan = self.plan(tuple(value for value in values if value is not None), shape, axis)
        if plan is None:
            return None
        signs = [1 if node is None else -1 for node in negated]

        def build() -> ir.Value:
            return self._times(plan.value(), _along(signs, shape, axis))

        return _Plan(1, build, (), (plan,))

    def _scaled(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        """Lanes some of which are constant multiples: the others are multiples by one."""
        one = self._rw.const(1, column[0])
        values, factors = list[ir.Value](), list[np.ndarray[Any, Any]]()
        for value in column:
            other, factor = value, self._rw.constant(one)
            for left, right in self._rw.both_ways(self._rw.producer(value, "Mul")):
                if left is None or shape_of(left) != shape_of(value):
                    continue  # one number times a constant array
                if self._rw.scalar(right) is not None:
                    other, factor = left, self._rw.constant(right)
                    break
            assert factor is not None
            values.append(other)
            factors.append(factor.reshape(-1)[0])
        plan = self.operand(tuple(values), shape, axis)
        if plan is None:
            return None

        def build() -> ir.Value:
            numbers = self._rw.const(_along(factors, shape, axis))
            return self._rw.reshape(self._rw.op.Mul(plan.value(), numbers), shape)

        return _Plan(1, build, (), (plan,))

    def _joined(self, column: _Column, shape: _Shape, axis: int) -> _Plan | None:
        """Concat of the lanes."""
        lane = (*shape[:axis], 1, *shape[axis + 1 :])
        parts = [self._shaped(value, lane) for value in column]
        if any(part is None for part in parts):
            return None
        known = tuple(part for part in parts if part is not None)

        def build() -> ir.Value:
            return self._rw.op.Concat(*(part.value() for part in known), axis=axis)

        return _Plan(1, build, (), known)

    # -- Values ------------------------------------------------------------------------------------------------------

    def _operand_of(self, values: Sequence[ir.Value | None], layout: _Layout, lanes: int) -> _Plan | None:
        column = tuple(value for value in values if value is not None)
        sizes = static_shape(column[0]) if len(column) == len(values) else None
        if sizes is None or any(static_shape(value) != sizes or value.dtype != column[0].dtype for value in column):
            return None
        wide, place = layout.wide(sizes, lanes)
        return self.operand(column, wide, place)

    def _in_order(self, first: ir.Node) -> Callable[[ir.Node], Sequence[ir.Value | None]]:
        """The operands of a node, those of a sum or product in the order that is like the first node's."""
        if first.op_type not in ("Add", "Mul"):
            return lambda node: node.inputs
        wanted = [self._kind(value) for value in first.inputs]

        def ordered(node: ir.Node) -> Sequence[ir.Value | None]:
            inputs = list(node.inputs)
            kinds = [self._kind(value) for value in inputs]
            same, swapped = (
                sum((one == other) + (one[:1] == other[:1]) for one, other in zip(wanted, order, strict=True))
                for order in (kinds, kinds[::-1])
            )
            return inputs[::-1] if swapped > same and node.op_type == first.op_type else inputs

        return ordered

    def _kind(self, value: ir.Value | None) -> tuple[object, ...]:
        """The source of a value and its part of it, or the operator that makes it, without constant factors."""
        if value is None or self._rw.constant(value) is not None:
            return ("constant",)
        value = _origin(value)
        for factor, other in self._rw.both_ways(self._rw.producer(value, "Mul")):
            if other is not None and self._rw.scalar(factor) is not None:
                value = _origin(other)
        place = self._place(value)
        if place is not None:
            return id(place.source), place.ranges
        node = value.producer()
        return (node.op_type,) if node is not None and node.op_type in traits.POINTWISE else (id(value),)

    def _place(self, value: ir.Value) -> _Place | None:
        """A value as a part of another that Slice, Split or Gather takes out; of another size if it is in steps."""
        node = self._rw.producer(value, "Slice", "Split", "Gather")
        if node is None or node.inputs[0] is None:
            return None
        sizes = static_shape(node.inputs[0])
        others = self._rw.constants(node.inputs[1:])
        if sizes is None or not others:
            return None
        ranges = [(0, size) for size in sizes]
        known = [one.reshape(-1).tolist() for one in others]
        if node.op_type == "Gather":
            axis = self._rw.attr(node, "axis", 0) % len(sizes)
            index = known[0][0] % sizes[axis]
            ranges[axis] = (index, index + 1)
        elif node.op_type == "Split":
            axis, place = self._rw.attr(node, "axis", 0) % len(sizes), list(node.outputs).index(value)
            ranges[axis] = (sum(known[0][:place]), sum(known[0][: place + 1]))
        else:
            if len(known) < 3:
                return None
            for start, stop, axis in zip(*known[:3], strict=True):
                low, high, _ = slice(start, stop).indices(sizes[axis])
                ranges[axis % len(sizes)] = (low, max(low, high))
        return _Place(node.inputs[0], tuple(ranges))

    def _shaped(self, value: ir.Value, shape: _Shape) -> _Plan | None:
        """A value with another shape of as many numbers."""
        own = static_shape(value)
        if own is None:
            return None
        there = own == shape or self._rw.constant(value) is not None
        return _Plan(0 if there else 1, lambda: self._rw.reshape(value, shape), (value,))

    def _times(self, value: ir.Value, signs: np.ndarray[Any, Any]) -> ir.Value:
        """A value times signs, which a constant factor takes in."""
        product = self._rw.producer(value, "Mul")
        for factor, other in self._rw.both_ways(product):
            array = self._rw.constant(factor)
            if array is not None:
                value, signs = other, array * signs.astype(array.dtype)  # type: ignore[assignment]
                break
        return self._rw.op.Mul(value, self._rw.const(signs, value))


@dataclass(frozen=True)
class _Layout:
    """Where the axis of lanes stands in a value of this rank: in place of an axis of size 1, or between two axes."""

    rank: int
    place: int
    replaces: bool

    def wide(self, sizes: _Shape, lanes: int) -> tuple[_Shape, int]:
        """The shape of an operand with the axis of lanes, and where that is."""
        behind = self.rank - self.place - self.replaces  # axes of the lane that stand behind it
        front, rest = sizes[: max(0, len(sizes) - behind)], sizes[max(0, len(sizes) - behind) :]
        if self.replaces:
            front = front[:-1]
        return (*front, lanes, *[1] * (behind - len(rest)), *rest), len(front)

    def with_lanes(self, sizes: _Shape, lanes: int) -> _Shape:
        return self.wide(sizes, lanes)[0]


def _layout(lane: _Shape, shape: _Shape, axis: int) -> _Layout | None:
    """How lanes of a shape make a value of another by a Reshape at most, if possible without one."""
    before = math.prod(shape[:axis])
    found = [
        _Layout(len(lane), place, replaces)
        for replaces in (True, False)
        for place in range(len(lane) + (not replaces))
        if math.prod(lane[:place]) == before and (not replaces or lane[place] == 1)
    ]
    return min(found, key=lambda one: one.with_lanes(lane, shape[axis]) != shape, default=None)


def _along(numbers: Sequence[Any], shape: _Shape, axis: int) -> np.ndarray[Any, Any]:
    """Numbers along an axis of a value of this shape, as it broadcasts."""
    return np.reshape(numbers, (-1, *[1] * (len(shape) - axis - 1)))


def _existing(value: ir.Value) -> _Plan:
    return _Plan(0, lambda: value, (value,))


def _origin(value: ir.Value) -> ir.Value:
    """The value that Reshape, Squeeze and Unsqueeze made this one of."""
    for _ in range(_LONGEST_CHAIN):
        node = made_by(value, *traits.RESHAPES)
        if node is None or node.inputs[0] is None or static_shape(node.inputs[0]) is None:
            break
        value = node.inputs[0]
    return value


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a value, or what Reshape, Squeeze and Unsqueeze make of it."""
    for user, _ in value.uses():
        if user.op_type in traits.RESHAPES and not user.outputs[0].is_graph_output():
            yield from _readers(user.outputs[0])
        else:
            yield user


def _depends(values: Iterable[ir.Value], on: Container[ir.Value]) -> bool:
    """Whether values are computed from others, or from so much that it takes long to tell."""
    stack, seen = list(values), set[ir.Value]()
    while stack:
        value = stack.pop()
        if value in on:
            return True
        if len(seen) > _MOST_VALUES:  # cost: of the search
            return True
        node = value.producer()
        if value not in seen and node is not None:
            seen.add(value)
            stack += read_by(node)
    return False
