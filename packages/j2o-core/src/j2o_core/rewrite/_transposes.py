"""Arithmetic, joins, reductions and resizing with the axes in the order that takes the fewest Transposes.

    before: y = Transpose(x); Concat(y, Transpose(Conv(Transpose(Relu(y)))), axis=3)
    after:  Transpose(Concat(x, Conv(Relu(x)), axis=1))

A convolution has its channels first, so a program that has them last changes the order in front of each and behind it.
Such pairs cancel in chains (`_layouts.py`); here are values that several operators read. Operators that take any order
of axes are considered together where they are connected, and all change or none. float16 and bfloat16 stay as they are,
as in `_regions.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._builder import Builder
from ..graph._dims import Dimensions
from ..graph._peephole import moves_only_ones
from ..graph._values import shape_of
from ..graph._walk import remove_unused_nodes
from ._invariants import has_half
from ._regions import connected, replace
from ._rewriter import Rewriter

_Perm = tuple[int, ...]

_ROUNDS = 3
# By operator, the operands that have a number for each axis, or for the beginning and the end of each.
_BY_AXIS = {"Resize": (2, 3), "Pad": (1,)}
# By operator, the operand that names axes.
_AXES = {**dict.fromkeys(traits.REDUCTIONS, 1), "Slice": 3}
_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_MOVED = {*traits.POINTWISE, "Concat", "Split", "Gather", *_BY_AXIS, *_AXES} - {*traits.ARG_REDUCTIONS}


def transpose_regions(graph: ir.Graph, builder: Builder, dims: Dimensions) -> None:
    """Give the arithmetic of a graph the orders of axes that take the fewest Transposes.

    Args:
        graph: the graph, which is changed; nested graphs are left as they are.
        builder: adds nodes to it.
        dims: symbolic dimensions.
    """
    rw = Rewriter(builder, dims)
    for _ in range(_ROUNDS):
        changed = False
        for nodes in connected([node for node in graph if _is_movable(rw, node)], _tied):
            region = _Region(rw, nodes)
            perm, gain = max(
                ((perm, region.gain(perm)) for perm in region.perms()), key=lambda one: one[1], default=((), 0)
            )
            if gain > 0:
                region.move(perm)
                changed = True
        if not changed:
            break
        graph.sort()
        remove_unused_nodes(graph)


def _operands(node: ir.Node) -> list[ir.Value]:
    """The operands that have axes."""
    several = node.op_type in traits.BROADCASTS or node.op_type == "Concat"
    return [value for value in (node.inputs if several else node.inputs[:1]) if value is not None]


def _rank(node: ir.Node) -> int:
    return max(len(shape_of(value) or ()) for value in _operands(node))


def _tied(node: ir.Node) -> list[ir.Value]:
    """The values whose axes are in one order with those of a node."""
    rank = _rank(node)
    values = [value for value in (*_operands(node), *node.outputs) if len(shape_of(value) or ()) == rank]
    return [value for value in values if value.const_value is None]


def _is_movable(rw: Rewriter, node: ir.Node) -> bool:
    if node.op_type not in _MOVED or has_half(node):
        return False
    values = [*_operands(node), *node.outputs]
    if any(shape_of(value) is None for value in values) or _rank(node) < 3:
        return False
    if not _tied(node):
        return False  # a sum of a constant, say
    if node.op_type == "Gather" and _repeats(rw, node) is None:
        return False  # along the last axis it takes eight times as long as along others
    if node.op_type in _AXES:
        place = _AXES[node.op_type]
        return len(node.inputs) > place and rw.constant(node.inputs[place]) is not None
    if node.op_type in _BY_AXIS:
        by_axis = [value for place in _BY_AXIS[node.op_type] for value in node.inputs[place : place + 1]]
        has_axes = "axes" in node.attributes or (node.op_type == "Pad" and len(node.inputs) > 3)
        return not has_axes and all(value is None or rw.constant(value) is not None for value in by_axis)
    return True


class _Region:
    """Nodes whose results and operands have their axes in one order.

    Attributes:
        nodes: in order.
        read: the values of the region's rank that come from elsewhere and are no weights.
        small: the other operands that are no weights and no single number.
    """

    def __init__(self, rw: Rewriter, nodes: list[ir.Node]):
        self._rw, self.nodes, self.rank = rw, nodes, _rank(nodes[0])
        inside = {value for node in nodes for value in node.outputs}
        operands = [value for node in nodes for value in _operands(node) if value not in inside]
        outside = [value for value in operands if not rw.is_weight(value)]
        self.read = dict.fromkeys(value for value in outside if len(shape_of(value) or ()) == self.rank)
        self.small = {value for value in outside if 0 < len(shape_of(value) or ()) < self.rank}

    def _used_outside(self) -> Iterator[tuple[ir.Value, list[ir.Node]]]:
        """The results of the region's rank that others read, with these."""
        nodes = set(self.nodes)
        for node in self.nodes:
            for value in node.outputs:
                users = [user for user, _ in value.uses() if user not in nodes]
                if len(shape_of(value) or ()) == self.rank and (users or value.is_graph_output()):
                    yield value, users

    def _is_change(self, user: ir.Node, perm: _Perm) -> bool:
        return user.graph is self.nodes[0].graph and _changes(user, perm)  # not in the body of a loop

    def _changed(self, value: ir.Value, perm: _Perm) -> ir.Value | None:
        """A value with its axes changed, if that is there."""
        return next((user.outputs[0] for user, _ in value.uses() if self._is_change(user, perm)), None)

    def perms(self) -> list[_Perm]:
        """The changes of order in front of the region, and the inverse ones of those behind it."""
        found = [_perm(value.producer()) for value in self.read]
        behind = (_perm(user) for _, users in self._used_outside() for user in users)
        found += [None if perm is None else _inverse(perm) for perm in behind]
        return list(dict.fromkeys(perm for perm in found if perm is not None))

    def gain(self, perm: _Perm) -> int:
        """How many Transposes less there are if the region's values are changed by a Transpose behind it."""
        nodes, gain = set(self.nodes), -len(self.small)
        if any(not _keeps_order(self._rw, node, perm) for node in self.nodes):
            return 0
        for value in self.read:
            if _changes(value.producer(), perm):
                gain += not value.is_graph_output() and all(user in nodes for user, _ in value.uses())
            else:
                gain -= self._changed(value, _inverse(perm)) is None
        for value, users in self._used_outside():
            changes = [user for user in users if self._is_change(user, _inverse(perm))]
            gain += len(changes) - (value.is_graph_output() or len(changes) < len(users))
        return gain

    def move(self, perm: _Perm) -> None:
        """Build the region anew, with its axes as a Transpose by `perm` finds them."""
        rw, back = self._rw, _inverse(perm)
        moved: dict[ir.Value, ir.Value] = {}
        replaced: dict[ir.Value, ir.Value] = {}
        for node in self.nodes:
            rw.op.metadata = dict(node.metadata_props)
            inputs = list(node.inputs)
            for value in _operands(node):
                if value not in moved:
                    moved[value] = self._source(value, perm)
            several = len(_operands(node)) > 1
            inputs = [moved.get(value, value) if several or not index else value for index, value in enumerate(inputs)]  # type: ignore[arg-type]
            attrs = rw.attrs(node)
            if "axis" in attrs or node.op_type in ("Split", "Gather"):
                attrs["axis"] = perm[attrs.get("axis", 0) % self.rank]
            for place in _BY_AXIS.get(node.op_type, ()):
                numbers = rw.constant(inputs[place]) if place < len(inputs) else None
                if numbers is not None and numbers.size:
                    inputs[place] = rw.const(numbers.reshape(-1, self.rank)[:, back].reshape(-1))
            if (axes := _axes(rw, node)) is not None:
                inputs[_AXES[node.op_type]] = rw.const([perm[axis] for axis in axes], np.int64)
            if (count := _repeats(rw, node)) is not None:
                scales = [count if axis == attrs["axis"] else 1 for axis in range(self.rank)]
                inputs, attrs = [inputs[0], None, rw.const(scales, np.float32)], _NEAREST
            op_type = "Resize" if attrs is _NEAREST else node.op_type
            results = rw.op(op_type, *inputs, outputs=len(node.outputs), **attrs)
            for old, new in zip(node.outputs, [results] if len(node.outputs) == 1 else results, strict=True):
                (moved if len(shape_of(old) or ()) == self.rank else replaced)[old] = new
        for value, users in self._used_outside():
            rw.op.metadata = dict(value.producer().metadata_props)  # type: ignore[union-attr]
            changes = [user for user in users if self._is_change(user, back)]
            replaced |= {user.outputs[0]: moved[value] for user in changes}
            if value.is_graph_output() or len(changes) < len(users):
                replaced[value] = rw.op.Transpose(moved[value], perm=perm)
        replace(self.nodes[0].graph, replaced)  # type: ignore[arg-type]

    def _source(self, value: ir.Value, perm: _Perm) -> ir.Value:
        """The value that a Transpose by `perm` makes an operand of."""
        rw, shape, producer = self._rw, shape_of(value) or (), value.producer()
        if not shape:
            return value
        if producer is not None and _changes(producer, perm):
            return producer.inputs[0]  # type: ignore[return-value]
        known = self._changed(value, _inverse(perm))
        if known is not None:
            return known
        whole = rw.reshape(value, [*[1] * (self.rank - len(shape)), *shape])
        return rw.op.Transpose(whole, perm=_inverse(perm))


def _repeats(rw: Rewriter, node: ir.Node) -> int | None:
    """How often a Gather has each place of an axis, one behind the other, None for other nodes and places."""
    if node.op_type != "Gather" or node.outputs[0].dtype is not ir.DataType.FLOAT:
        return None
    places, shape = rw.constant(node.inputs[1]), rw.shape(node.inputs[0])
    size = shape[rw.attr(node, "axis", 0)] if shape else None
    if places is None or not isinstance(size, int) or not size:
        return None
    count = places.size // size
    # Places in rows have another shape than these, and a number that size does not divide would lead beyond the axis.
    return count if count and np.array_equal(places, np.arange(places.size) // count) else None


def _keeps_order(rw: Rewriter, node: ir.Node, perm: _Perm) -> bool:
    """Whether the axes that a reduction leaves, if it drops the others, come in the same order."""
    if len(shape_of(node.outputs[0]) or ()) == len(perm):
        return True
    reduced = _axes(rw, node) or []
    kept = [perm[axis] for axis in range(len(perm)) if axis not in reduced]
    return kept == sorted(kept)


def _axes(rw: Rewriter, node: ir.Node) -> list[int] | None:
    if node.op_type not in _AXES:
        return None
    axes = rw.constant(node.inputs[_AXES[node.op_type]])
    assert axes is not None
    return [int(axis) % _rank(node) for axis in axes]


def _inverse(perm: Sequence[int]) -> _Perm:
    return tuple(int(axis) for axis in np.argsort(perm))


def _perm(node: ir.Node | None) -> _Perm | None:
    if node is None or node.op_type != "Transpose":
        return None
    return tuple(node.attributes["perm"].as_ints())


def _changes(node: ir.Node | None, perm: _Perm) -> bool:
    """Whether a node is a Transpose, or a Reshape, that has the effect of a Transpose by `perm`."""
    if node is None or node.op_type not in traits.RESHAPES:
        return _perm(node) == perm
    before, after = (shape_of(value) if value is not None else None for value in (node.inputs[0], node.outputs[0]))
    if before is None or after is None or len(before) != len(perm):
        return False
    return moves_only_ones(before, perm) and after == tuple(before[axis] for axis in perm)
