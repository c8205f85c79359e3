"""Pairs along an axis, in whichever way they were split and joined: halves of it, or its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits

Axes = tuple[Any, ...]

# Changes of layout one after another are few, as neighbours are merged.
_LONGEST_CHAIN = 8


@dataclass(frozen=True)
class PairMember:
    """The first or the second number of each pair of `root`.

    Attributes:
        root: the value that the pairs are in.
        axes: of the numbers, in parts of those of the root.
        pair: the part of an axis of the root, of size 2, that distinguishes first and second numbers.
        rest: the part of that axis that distinguishes the pairs, as an axis of the numbers.
        place: 0 for first numbers, 1 for second ones.
        negative: whether they are negated.
    """

    root: ir.Value
    axes: Axes
    pair: Any
    rest: Any
    place: int
    negative: bool

    @property
    def halves(self) -> bool:
        """Whether first numbers come before all second ones, instead of each beside its second one."""
        return not self.rest or self.pair.stride > self.rest[0].stride

    @property
    def whole(self) -> Any:
        """The axis that has all numbers of all pairs in the order of the root."""
        size = 2 * self.rest[0].size if self.rest else 2
        stride = min([self.pair.stride, *(part.stride for part in self.rest)])
        return (self.pair._replace(stride=stride, size=size),)


def pair_member(rw: Rewriter, value: ir.Value | None) -> PairMember | None:
    """A value as one number of each pair: a Slice or Gather, and changes of layout and Neg behind it."""
    nodes, value, negative = behind(rw, value, "Neg", *traits.LAYOUT)
    found = _picked(rw, value)
    if found is None:
        return None
    axes = rw.followed(nodes, found.axes)
    return None if axes is None else replace(found, axes=axes, negative=negative)


def behind(rw: Rewriter, value: ir.Value | None, *op_types: str) -> tuple[list[ir.Node], ir.Value | None, bool]:
    """Nodes of these operators that make a value, in the order of the graph, their first operand, and its sign."""
    nodes: list[ir.Node] = []
    negative = False
    while len(nodes) < _LONGEST_CHAIN and (node := rw.producer(value, *op_types)) is not None:
        negative ^= node.op_type == "Neg"
        nodes.append(node)
        value = node.inputs[0]
    return nodes[::-1], value, negative


def _picked(rw: Rewriter, value: ir.Value | None) -> PairMember | None:
    cut = rw.slice_of(value)
    found = (cut.source, cut.axis, int(cut.start > 0)) if cut is not None else _every_second(rw, value)
    view = rw.view(found[0]) if found is not None else None
    if found is None or view is None or len(view.axes[found[1]]) != 1:
        return None
    axis, place = found[1:]
    (part,) = view.axes[axis]
    half = part.size // 2
    if cut is not None:  # halves, perhaps of an axis of size 2
        if cut.stop - cut.start != half or cut.start not in (0, half):
            return None
        stride, distance = part.stride, part.stride * half
    else:
        stride, distance = 2 * part.stride, part.stride
    pair = part._replace(stride=distance, size=2)
    rest = () if half == 1 else (part._replace(stride=stride, size=half),)
    axes = (*view.axes[:axis], rest, *view.axes[axis + 1 :])
    return PairMember(view.root, axes, pair, rest or _across(axes, pair), place, False)


def _every_second(rw: Rewriter, value: ir.Value | None) -> tuple[ir.Value, int, int] | None:
    """(source, axis, 0 or 1) of a Gather or Slice that takes every second number, from the first or second on."""
    node = rw.producer(value, "Gather", "Slice")
    source = node.inputs[0] if node is not None else None
    shape = rw.shape(source)
    if node is None or source is None or shape is None:
        return None
    constants = rw.constants(node.inputs[1:])
    if constants is None:
        return None
    if node.op_type == "Gather":
        axis = int(rw.attr(node, "axis", 0)) % len(shape)
        picked = [(axis, constants[0])]
    elif len(constants) == 4:
        rows = zip(*(constant.tolist() for constant in constants), strict=True)
        whole = [size if isinstance(size, int) else 0 for size in shape]
        indices = [(axis % len(shape), np.arange(whole[axis])[start:stop:step]) for start, stop, axis, step in rows]
        picked = [(axis, index) for axis, index in indices if not np.array_equal(index, np.arange(whole[axis] or 1))]
    else:
        return None
    if len(picked) != 1:
        return None
    ((axis, index),) = picked
    for place in (0, 1):
        if (
            isinstance(shape[axis], int)
            and index is not None
            and np.array_equal(index, np.arange(place, shape[axis], 2))
        ):
            return source, axis, place
    return None


def _across(axes: Axes, pair: Any) -> Any:
    """The axis along which the pairs of a size of 2 lie, none if there is no such axis."""
    single = [axis for axis in axes if len(axis) == 1 and axis[0].axis == pair.axis and isinstance(axis[0].size, int)]
    halves = [axis for axis in single if axis[0].stride * axis[0].size == pair.stride]
    return (halves or [axis for axis in single if axis[0].stride == 2 * pair.stride] or [()])[0]


def are_pairs(first: PairMember | None, second: PairMember | None) -> bool:
    """Whether these are first and second numbers of the same pairs, in the same layout."""
    if first is None or second is None:
        return False
    return (
        first.root is second.root
        and (first.axes, first.pair) == (second.axes, second.pair)
        and (first.place, second.place) == (0, 1)
    )


def joined_axes(one: PairMember, axis: int, axes: Axes) -> Axes:
    """The axes of first and second numbers behind each other along one of `axes`, which each of them has."""
    own = axes[axis]
    merged = one.whole if own == one.rest and one.halves else (one.pair, *own)
    return (*axes[:axis], merged, *axes[axis + 1 :])


def swapped(rw: Rewriter, value: ir.Value) -> tuple[PairMember, Axes, tuple[bool, bool]] | None:
    """(first numbers, axes, which places are negated) of a value with the numbers of each pair exchanged."""
    nodes, start, _ = behind(rw, value, *traits.LAYOUT)
    concat = rw.producer(start, "Concat")
    if concat is None or start is None or len(concat.inputs) != 2:
        return None
    second, first = (pair_member(rw, operand) for operand in concat.inputs)
    if first is None or second is None or not are_pairs(first, second):
        return None
    axes = rw.followed(nodes, joined_axes(first, rw.attr(concat, "axis") % len(first.axes), first.axes))
    return None if axes is None else (first, axes, (second.negative, first.negative))
