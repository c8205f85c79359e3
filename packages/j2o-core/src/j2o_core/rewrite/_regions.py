"""Pointwise arithmetic in the shape that takes the fewest Reshapes.

    before: Reshape(Mul(Reshape(x[:, :1], [3]), Reshape(y[:, 1:], [3])), [3, 1])
    after:  Mul(x[:, :1], y[:, 1:])

Components of vectors keep their axis that way: `x[:, 0]` is computed as `x[:, :1]`, where that is how it was read and
how it is put together again. Values of one shape that pointwise operators connect have one shape in common; symbolic
sizes stay as they are, and so do float16 and bfloat16, whose chains are rounded where they end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import onnx_ir as ir

from ..graph import traits
from ..graph._builder import Builder
from ..graph._dims import Dimensions
from ..graph._values import made_by, shape_of, static_shape
from ..graph._walk import replace_output
from ._invariants import has_half
from ._rewriter import Rewriter

_Shape = tuple[int, ...]


def reshape_regions(graph: ir.Graph, builder: Builder, dims: Dimensions) -> dict[ir.Value, ir.Value]:
    """Give the pointwise arithmetic of a graph the shapes that take the fewest Reshapes.

    Args:
        graph: the graph, which is changed; nested graphs are left as they are.
        builder: adds nodes to it.
        dims: symbolic dimensions.

    Returns:
        Values of the graph as it was, and those of the same elements in another shape that took their places.
    """
    rw = Rewriter(builder, dims)
    everywhere: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        source = node.inputs[0] if _is_reshape(node) else None
        if source is not None and _reshaped(source) is not None:
            builder.metadata = dict(node.metadata_props)
            replace(graph, {node.outputs[0]: rw.reshape(source, shape_of(node.outputs[0]))})
    for nodes in _regions(graph):
        region = _Region(nodes)  # now: its operands may have been replaced
        shape, gain = max(_gains(region).items(), key=lambda one: one[1], default=(None, 0))
        if shape is None or gain <= 0:
            continue
        moved, replaced = _move(region, shape, rw)
        replace(graph, replaced)
        everywhere |= moved
    for node in list(graph):
        if node.op_type == "Split":
            replace(graph, _split_before_reshape(node, rw))
    return everywhere


def _split_before_reshape(node: ir.Node, rw: Rewriter) -> dict[ir.Value, ir.Value]:
    """Reshape(part) for all parts of Split(Reshape(x)) -> those of Split(x), where an axis of x is split."""
    x, shape = rw.operand_of(node.inputs[0], *traits.RESHAPES), static_shape(node.inputs[0])
    source = static_shape(x)
    readers = [user for part in node.outputs for user, _ in part.uses()]
    if not shape or source is None or any(part.is_graph_output() for part in node.outputs):
        return {}
    axis = rw.attr(node, "axis", 0) % len(shape)
    same = [place for place in range(len(source)) if _outer_and_size(source, place) == _outer_and_size(shape, axis)]
    if len(same) != 1 or len(node.inputs) < 2 or not all(map(_is_reshape, readers)):
        return {}
    rw.op.metadata = dict(node.metadata_props)
    parts = rw.op.Split(x, node.inputs[1], axis=same[0], outputs=len(node.outputs))
    return {
        user.outputs[0]: rw.reshape(part, shape_of(user.outputs[0]))
        for old, part in zip(node.outputs, parts, strict=True)
        for user, _ in old.uses()
    }


def read_places(graph: ir.Graph, builder: Builder, dims: Dimensions) -> None:
    """Reshape(Slice(x)) of one place along an axis, without that axis -> Gather(x), which takes a fifth less time.

    Args:
        graph: the graph, whose regions have their shapes; nested graphs are left as they are.
        builder: adds nodes to it.
        dims: symbolic dimensions.
    """
    rw = Rewriter(builder, dims)
    for node in list(graph):
        if node.op_type == "Slice":
            replace(graph, _place(node, rw))


def _place(node: ir.Node, rw: Rewriter) -> dict[ir.Value, ir.Value]:
    part, shape = rw.slice_of(node.outputs[0]), static_shape(node.inputs[0])
    if part is None or shape is None or part.stop - part.start != 1 or part.value.is_graph_output():
        return {}
    if rw.is_weight(part.source):  # its parts are stored
        return {}
    without = (*shape[: part.axis], *shape[part.axis + 1 :])
    readers = [user for user, _ in part.value.uses() if user.outputs[0].uses() or user.outputs[0].is_graph_output()]
    if not all(_is_reshape(user) and static_shape(user.outputs[0]) == without for user in readers):
        return {}
    rw.op.metadata = dict(node.metadata_props)
    place = rw.op.Gather(part.source, rw.const(part.start, "int64"), axis=part.axis)
    return {user.outputs[0]: place for user in readers}


def _outer_and_size(shape: _Shape, axis: int) -> tuple[int, int]:
    """How many items the axes in front of one have, and its size: all that a part along it depends on."""
    return math.prod(shape[:axis]), shape[axis]


def replace(graph: ir.Graph, pairs: dict[ir.Value, ir.Value]) -> None:
    """Put values in the places of others, in a graph whose nodes are sorted afterwards."""
    for old, new in pairs.items():
        replace_output(graph, old, new, graph[-1])
        for user, index in list(old.uses()):
            user.replace_input_with(index, new)


class _Region:
    """Pointwise nodes whose results have one shape, and that read one another's results or the same values.

    Attributes:
        shape: the shape.
        nodes: in order.
        read: the values of that shape that come from elsewhere.
        rank: of their other operands, which are numbers, at most.
    """

    def __init__(self, nodes: list[ir.Node]):
        self.shape = shape = shape_of(nodes[0].outputs[0]) or ()
        self.nodes = nodes
        inside = {value for node in nodes for value in node.outputs}
        operands = [value for node in nodes for value in _operands(node)]
        self.read = dict.fromkeys(value for value in operands if value not in inside and shape_of(value) == shape)
        self.rank = max((len(shape_of(value) or ()) for value in operands if shape_of(value) != shape), default=0)

    def used_outside(self) -> Iterator[tuple[ir.Value, list[tuple[ir.Node, int]]]]:
        """The results that others read, with these uses."""
        nodes = set(self.nodes)
        for node in self.nodes:
            (value,) = node.outputs
            uses = [(user, index) for user, index in value.uses() if user not in nodes]
            if uses or value.is_graph_output():
                yield value, uses


def _regions(graph: ir.Graph) -> list[list[ir.Node]]:
    """Pointwise nodes in groups that belong together."""

    def tied(node: ir.Node) -> list[ir.Value]:
        # A constant ties nobody together: it is stored in each shape.
        (result,) = node.outputs
        operands = [value for value in _operands(node) if value.const_value is None]
        return [result, *(value for value in operands if shape_of(value) == shape_of(result))]

    return connected([node for node in graph if _is_pointwise(node)], tied)


def connected(nodes: list[ir.Node], tied: Callable[[ir.Node], list[ir.Value]]) -> list[list[ir.Node]]:
    """Nodes in groups: those that are tied to one value are in one, and `tied` gives the values of a node."""
    leaders: dict[ir.Value, ir.Value] = {}

    def leader(value: ir.Value) -> ir.Value:
        while (above := leaders.setdefault(value, value)) is not value:
            leaders[value] = leaders[above]
            value = above
        return value

    first: dict[ir.Node, ir.Value] = {}
    for node in nodes:
        first[node], *others = tied(node)
        for value in others:
            leaders[leader(value)] = leader(first[node])
    groups: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        groups.setdefault(leader(first[node]), []).append(node)
    return list(groups.values())


def _operands(node: ir.Node) -> list[ir.Value]:
    """The operands that are broadcast: the limits of Clip are scalars for every shape."""
    operands = node.inputs[:1] if node.op_type in traits.MAPS else node.inputs
    return [value for value in operands if value is not None]


def _is_pointwise(node: ir.Node) -> bool:
    """Whether a node may have its result in another shape: its operands have the result's shape, or are one number."""
    if node.op_type not in traits.POINTWISE or has_half(node):
        return False
    shape = static_shape(node.outputs[0])
    sizes = [static_shape(value) for value in _operands(node)]
    return (
        shape is not None
        and math.prod(shape) > 0
        and all(one is not None and (one == shape or math.prod(one) == 1) for one in sizes)
        and shape in sizes
    )


def _gains(region: _Region) -> Counter[_Shape]:
    """How many Reshapes less there are for each other shape."""
    candidates: Counter[_Shape] = Counter()
    cost = 0
    nodes = set(region.nodes)
    for value in region.read:
        if value.const_value is not None:
            continue
        source, kept = _reshaped(value), _with_kept_axes(value)
        if source is None:
            cost += 1
            if kept is not None:
                candidates[kept] += 1  # at no cost
        elif not value.is_graph_output() and all(user in nodes or _is_reshape(user) for user, _ in value.uses()):
            candidates[source] += 1
    for value, uses in region.used_outside():
        shapes = {static_shape(user.outputs[0]) for user, _ in uses if _is_reshape(user)}
        candidates.update(shape for shape in shapes if shape is not None)
        cost += value.is_graph_output() or any(not _is_reshape(user) for user, _ in uses)
    del candidates[region.shape]
    return Counter({shape: count - cost for shape, count in candidates.items() if len(shape) >= region.rank})


def _move(region: _Region, shape: _Shape, rw: Rewriter) -> tuple[dict[ir.Value, ir.Value], dict[ir.Value, ir.Value]]:
    """Build a region in another shape: its results there, and what takes the place of the values that others read."""
    moved = {value: _shaped(value, shape, rw) for value in region.read}
    for node in region.nodes:
        rw.op.metadata = dict(node.metadata_props)
        operands = [moved.get(value, value) for value in _operands(node)]
        inputs = [*operands, *node.inputs[len(operands) :]]
        moved[node.outputs[0]] = rw.op(node.op_type, *inputs, **rw.attrs(node))
    replaced = {}
    for value, uses in region.used_outside():
        for user, _ in uses:
            old = user.outputs[0] if _is_reshape(user) else value
            replaced[old] = rw.reshape(moved[value], shape_of(old))
        if value.is_graph_output():
            replaced[value] = rw.reshape(moved[value], region.shape)
    results = [value for node in region.nodes for value in node.outputs]
    return {value: moved[value] for value in results}, replaced


def _shaped(value: ir.Value, shape: _Shape, rw: Rewriter) -> ir.Value:
    node = value.producer()
    if node is None or _with_kept_axes(value) != shape:
        return rw.reshape(value, shape)
    rw.op.metadata = dict(node.metadata_props)
    return rw.op(node.op_type, *node.inputs, **{**rw.attrs(node), "keepdims": 1})  # type: ignore[no-any-return]


def _with_kept_axes(value: ir.Value) -> _Shape | None:
    """The shape that the result of a reduction has if it keeps the axes."""
    node = made_by(value, *traits.REDUCTIONS)
    if node is None or len(node.inputs) < 2:
        return None
    sizes, axes = static_shape(node.inputs[0]), node.inputs[1].const_value if node.inputs[1] is not None else None
    if sizes is None or axes is None:
        return None
    reduced = {int(axis) % len(sizes) for axis in axes.numpy().reshape(-1)}
    return tuple(1 if axis in reduced else size for axis, size in enumerate(sizes))


def _is_reshape(node: ir.Node) -> bool:
    """Whether a node gives what it reads another shape that is known."""
    return node.op_type in traits.RESHAPES and static_shape(node.outputs[0]) is not None


def _reshaped(value: ir.Value | None) -> _Shape | None:
    """The shape of what was reshaped to a value."""
    node = made_by(value, *traits.RESHAPES)
    return static_shape(node.inputs[0]) if node is not None else None
