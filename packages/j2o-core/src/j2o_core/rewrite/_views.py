"""Values as rearrangements of others: what Reshape and Transpose make of the axes, whatever the order they come in.

An axis is a tuple of `Part`s of the axes of a root, the slowest first; an axis of size 1 is the empty tuple. Two values
with the same root and the same axes hold the same numbers in the same order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import onnx_ir as ir

from ..graph import traits
from ..graph._infer import same_dimension
from ..graph._values import shape_of

# Chains are short, as the builder merges neighbours; a bound keeps time linear for those that are not.
_LONGEST_CHAIN = 12


class Part(NamedTuple):
    """The indices `0, stride, 2 * stride, ...` (`size` of them) of an axis of the root."""

    axis: int
    stride: int
    size: Any


Axis = tuple[Part, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class View:
    """A value whose axes are made of parts of the axes of `root`.

    Attributes:
        root: the value that was rearranged.
        axes: for each axis of the view the parts it is made of.
        nodes: the nodes between, from the root on.
    """

    root: ir.Value
    axes: Axes
    nodes: tuple[ir.Node, ...]

    def changes(self, own: Axes) -> int:
        """How many of Reshape, Transpose, Reshape it takes to get here from the root, whose axes are `own`."""
        before, after = refined(own, self.axes), refined(self.axes, own)
        moved = [part for axis in before for part in axis] != [part for axis in after for part in axis]
        splits, joins = (any(len(axis) > 1 for axis in axes) for axes in (before, after))
        return splits + moved + (joins or (not splits and len(before) != len(after)))


def whole(shape: Sequence[Any], first: int = 0) -> Axes:
    """The axes of a root itself, which count from `first`."""
    return tuple(() if same_dimension(size, 1) else (Part(axis, 1, size),) for axis, size in enumerate(shape, first))


def view(value: ir.Value, through: Callable[[ir.Node], bool] | None = None) -> View | None:
    """The value as a view of the earliest value that it is known to rearrange; None if its shape is not known.

    With `through(node)`, nodes for which it is true may be on the way once; they keep the axes but those of size 1
    in their result (a reduction).
    """
    chain: list[ir.Node] = []
    passed = False
    while len(chain) < _LONGEST_CHAIN and (node := value.producer()) is not None:
        if not passed and through is not None and through(node):
            passed = True
        elif node.op_type not in traits.LAYOUT:
            break
        if node.inputs[0] is None or shape_of(node.inputs[0]) is None:
            break
        chain.append(node)
        value = node.inputs[0]
    shape = shape_of(value)
    if shape is None:
        return None
    root, axes, start = value, whole(shape), len(chain)
    for index in reversed(range(len(chain))):
        moved = step(chain[index], axes)
        if moved is None:
            root = chain[index].outputs[0]
            moved, start = whole(shape_of(root) or ()), index
        axes = moved
    return View(root, axes, tuple(reversed(chain[:start])))


def step(node: ir.Node, axes: Axes) -> Axes | None:
    """The axes of a node's result, given those of its first operand; None if they mix."""
    shape = shape_of(node.outputs[0])
    if shape is None:
        return None
    if node.op_type == "Transpose":
        return tuple(axes[axis] for axis in node.attributes["perm"].as_ints())
    if node.op_type in traits.RESHAPES:
        return _regrouped([part for axis in axes for part in axis], shape)
    if len(shape) == len(axes):
        return tuple(() if same_dimension(size, 1) else axis for size, axis in zip(shape, axes, strict=True))
    reduced = _reduced_axis(node, len(axes))
    return None if reduced is None else axes[:reduced] + axes[reduced + 1 :]


def _reduced_axis(node: ir.Node, rank: int) -> int | None:
    """The axis that a reduction takes away."""
    constant = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if constant is None:
        return None
    axes = constant.numpy()
    return int(axes[0]) % rank if len(axes) == 1 else None


def _regrouped(parts: list[Part], shape: Sequence[Any]) -> Axes | None:
    """Parts in their order as axes of these sizes, None if an axis would take a fraction of a part."""
    rest, axes = parts[::-1], []
    if any(part.size == 0 for part in parts):
        return None  # of nothing, any axes are the same
    for size in shape:
        axis: list[Part] = []
        product: Any = 1
        while not same_dimension(product, size):
            if not rest:
                return None
            part = rest.pop()
            if isinstance(size, int) and isinstance(part.size, int) and isinstance(product, int):
                wanted, left = divmod(size, product)
                if left:
                    return None
                if part.size > wanted:  # if not by a whole number, the parts are used up before the shape is
                    inner = part.size // wanted
                    rest.append(Part(part.axis, part.stride, inner))
                    part = Part(part.axis, part.stride * inner, wanted)
            axis.append(part)
            product = product * part.size
        axes.append(joined(axis))
    return None if rest else tuple(axes)


def joined(axis: Iterable[Part]) -> Axis:
    """An axis with neighbours that make up one part of the root written as one."""
    result: list[Part] = []
    for part in axis:
        last = result[-1] if result else None
        whole_sizes = last is not None and isinstance(last.size, int) and isinstance(part.size, int)
        if last is not None and whole_sizes and (last.axis, last.stride) == (part.axis, part.stride * part.size):
            result[-1] = Part(part.axis, part.stride, last.size * part.size)
        else:
            result.append(part)
    return tuple(result)


def refined(axes: Axes, others: Axes) -> list[list[Part]]:
    """The axes with their parts cut wherever a part of the others begins or ends."""
    cuts: dict[int, set[int]] = {}
    for axis in (*axes, *others):
        for part in axis:
            if isinstance(part.size, int):
                cuts.setdefault(part.axis, set()).update((part.stride, part.stride * part.size))
    return [[piece for part in axis for piece in _pieces(part, cuts.get(part.axis, set()))] for axis in axes]


def _pieces(part: Part, cuts: set[int]) -> list[Part]:
    if not isinstance(part.size, int):
        return [part]
    end = part.stride * part.size
    places = sorted(cut for cut in cuts if part.stride <= cut <= end)
    if any(high % low for low, high in itertools.pairwise(places)):
        return [part]
    return [Part(part.axis, low, high // low) for low, high in itertools.pairwise(places)][::-1]
