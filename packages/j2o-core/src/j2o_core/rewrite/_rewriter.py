"""The first argument of rewrite rules: queries about the graph around a node, and a builder of the replacement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from .._compat import is_symbolic
from ..graph._builder import Builder, in_graph
from ..graph._constant_folding import folded
from ..graph._dims import Dimensions
from ..graph._infer import same_shape
from ..graph._kept import is_kept
from ..graph._layout import expand, reshape
from ..graph._nonfinite import difference, only_finite
from ..graph._ranges import Range, value_range
from ..graph._values import (
    REAL_KINDS,
    attribute_of,
    is_float,
    is_integer,
    made_by,
    numpy_dtype,
    shape_of,
    stamp,
    static_shape,
)
from ..simplify import FOLD_LIMIT_BYTES
from ..simplify._identities import one_number
from ._views import Axes, Part, View, refined, step, view, whole

# The result that a rule, or a part of it, did not return.
_T = TypeVar("_T")


@dataclass(frozen=True)
class Slice:
    """`value = source[start:stop]` along `axis`."""

    value: ir.Value
    source: ir.Value
    axis: int
    start: int
    stop: int


class Rewriter:
    """The graph around one node, for a rule `rule(rw, node) -> value, values or None`.

    Attributes:
        op: builds nodes in front of the anchor, like `LoweringContext.op`.
        target: where the program is to run; `rw.target.runs("Gelu", x.dtype)`.
        opset: the target's opset.
        exact_nonfinite: whether `to_onnx` got `nonfinite="exact"`.
    """

    def __init__(self, builder: Builder, dims: Dimensions):
        self.op = builder
        self.target = builder.target
        self.opset = builder.target.opset
        self.exact_nonfinite = builder.target.exact_nonfinite
        self._dims = dims
        self._shared: dict[Hashable, ir.Value] = {}
        self.asked_for_sizes = False
        self.reused = False
        self.reason: str | None = None

    def decline(self, reason: str) -> _T | None:
        """None, after saying why a pattern that is nearly the rule's is left as it is.

        The first reason of a rule at a node counts. If the node is there at the end, `program.report()` has it.
        """
        self.reason = self.reason or reason
        return None

    def const(self, value: Any, dtype: Any = None) -> ir.Value:
        """A constant; `dtype` is a dtype or a value whose dtype is taken."""
        return self.op.const(value, dtype)

    def dim(self, dimension: Any) -> ir.Value:
        """A dimension, symbolic or not, as an int64 scalar."""
        self.asked_for_sizes |= is_symbolic(dimension)
        return self._dims.scalar(dimension)

    def reshape(self, x: ir.Value, shape: Any) -> ir.Value:
        """`x` with another shape of the same number of elements."""
        self.asked_for_sizes |= any(map(is_symbolic, shape))
        return reshape(self.op, self._dims, x, shape)

    def rows(self, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """A constant broadcast to a symbolic shape, once for the whole graph."""
        self.asked_for_sizes = True
        return expand(self._dims.builder, self._dims, x, shape)

    def shaped(self, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """`x` itself, after saying its shape, where core could not infer it."""
        if shape_of(x) is None:
            stamp(x, None, shape)
        return x

    def view(self, value: ir.Value, through: Callable[[ir.Node], bool] | None = None) -> View | None:
        """The value as a view of another; see `View`. `through` lets one reduction pass."""
        return view(value, through)

    def axes(self, value: ir.Value, first: int = 0) -> Axes:
        """The axes of a value whose shape is known, as those of a root, which count from `first`."""
        return whole(shape_of(value) or (), first)

    def moved(self, node: ir.Node, axes: Axes) -> Axes | None:
        """The axes of the result of a change of layout, None if it mixes them; other nodes leave axes alone."""
        return step(node, axes)

    def followed(self, nodes: Iterable[ir.Node], axes: Axes | None) -> Axes | None:
        """The axes of the last of several results, each the first operand of the next node; None if they mix them."""
        for node in nodes:
            axes = step(node, axes) if axes is not None else None
        return axes

    def arranged(self, x: ir.Value, axes: Axes, target: Axes, *, expand: Sequence[int] = ()) -> ir.Value | None:
        """`x`, whose axes are made of these parts, with the axes of `target`.

        Parts of `target` that `x` has not are axes of size 1, or broadcast for the places in `expand` and where
        they share an axis with others. None if `x` has parts that `target` has not.
        """
        own, wanted = refined(axes, target), refined(target, axes)
        parts = [part for axis in own for part in axis]
        there = [[part for part in axis if part in parts] for axis in wanted]
        if sum(map(len, there)) != len(parts):
            return None
        if any(len(axis) > 1 for axis in own):
            # Axes of size 1 come in while the shape changes anyway: behind symbolic sizes, so that these stay in place.
            sizes, ones = [part.size for part in parts], there.count([]) if max(map(len, there)) == 1 else 0
            added: list[list[Part]] = [[] for _ in range(ones)]
            behind = any(map(is_symbolic, sizes))
            x = self.reshape(x, [*sizes, *[1] * ones] if behind else [*[1] * ones, *sizes])
            own = [[part] for part in parts]
            own = [*own, *added] if behind else [*added, *own]
        x = self.op.Transpose(x, perm=_order(own, there))
        spread = [
            all_ if axis in expand or (some and some != all_) else some
            for axis, (all_, some) in enumerate(zip(wanted, there, strict=True))
        ]
        if spread != there:
            pieces = [part for axis in spread for part in axis]
            thin = self.reshape(x, [part.size if part in parts else 1 for part in pieces])
            x = self.expand(thin, [part.size for part in pieces])
        return self.reshape(x, [math.prod(part.size for part in axis) for axis in spread])

    def expand(self, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """`x` broadcast to a shape; of a constant, a constant, unless that is large."""
        array = self.op.constant_value(x)
        if (
            array is not None
            and not any(map(is_symbolic, shape))
            and math.prod(shape) * array.itemsize <= max(FOLD_LIMIT_BYTES, array.nbytes)
        ):
            return self.op.constants.get(np.broadcast_to(array, [int(size) for size in shape]).copy())
        self.asked_for_sizes |= any(map(is_symbolic, shape))
        return expand(self.op, self._dims, x, shape)

    def shared(self, key: Hashable, build: Callable[[], ir.Value]) -> ir.Value:
        """The value that `build` returns, built once for all rules that ask with an equal key."""
        known = self._shared.get(key)
        if known is not None and in_graph(known):
            self.reused = True
            return known
        self._shared[key] = build()
        return self._shared[key]

    def branch(self, build: Callable[[Rewriter], ir.Value], name: str = "branch") -> ir.Graph:
        """A graph without inputs for a branch of If, whose one output `build` returns."""
        graph = ir.Graph([], [], nodes=[], name=name)
        builder = Builder(self.op.constants, self.target, append=graph.append, outer=self.op)
        builder.metadata = self.op.metadata
        inner = Rewriter(builder, self._dims)
        value = build(inner)
        graph.outputs.append(value if value.producer() in graph else builder.plain("Identity", value))
        self.asked_for_sizes |= inner.asked_for_sizes
        return graph

    def cut(self, x: ir.Value, axis: int, start: int, stop: int) -> ir.Value:
        """`x[start:stop]` along an axis; of a constant, a constant."""
        shape, array = self.shape(x), self.op.constant_value(x)
        if shape is not None and (start, stop) == (0, shape[axis]):
            return x
        if array is not None:
            part = array[(slice(None),) * axis + (slice(start, stop),)]
            hint = self.op.constants.hint(x)
            return self.op.constants.get(part, f"{hint}[{start}:{stop}]" if hint else None)
        return self.op.Slice(x, *(self.const([i], np.int64) for i in (start, stop, axis)))

    def derived(self, source: ir.Value, how: str, make: Callable[[np.ndarray[Any, Any]], Any]) -> ir.Value:
        """A constant made from the array of another, stored once for each way `how` it is made."""
        return self.op.constants.derived(source, how, make)

    def constant(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array of a constant, None for everything else."""
        return self.op.constant_value(value)

    def constants(self, values: Iterable[ir.Value | None]) -> list[np.ndarray[Any, Any]] | None:
        """The arrays of constants, None if one of the values is none."""
        arrays = list(map(self.constant, values))
        return None if any(array is None for array in arrays) else arrays  # type: ignore[return-value]

    def folded(self, node: ir.Node, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        """The array that a node gives for an array as its first operand, None where its others are no constants."""
        others = self.constants(node.inputs[1:])
        return None if others is None else folded(node.op_type, [x, *others], self.attrs(node))

    def wide(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array of a constant to compute with: in half precision what it was rounded from, None if not known."""
        return self.op.constants.wide(value)

    def is_weight(self, value: ir.Value | None) -> bool:
        """Whether a value is a constant, or a weight that is kept, whose transposes and slices are stored as such."""
        return self.constant(value) is not None or is_kept(value)

    def range(self, value: ir.Value | None) -> Range:
        """How low and high the numbers in a value may be, and whether NaN or -0 may be among them."""
        return value_range(value, self.op.constant_value)

    def scalar(self, value: ir.Value | None) -> float | None:
        """The number that a constant holds in every element, bit for bit; an integer is an `int`."""
        number = one_number(self.op.constant_value(value))
        if number is None or number.dtype.kind not in REAL_KINDS:
            return None
        return int(number) if "int" in number.dtype.name else float(number)  # int4 is no kind of NumPy's integers

    def producer(self, value: ir.Value | None, *op_types: str) -> ir.Node | None:
        """The node that makes a value, if it is one of these operators."""
        return made_by(value, *op_types)

    def operand_of(self, value: ir.Value | None, *op_types: str) -> ir.Value | None:
        """The first operand of the node that makes a value, if it is one of these operators, else None."""
        node = made_by(value, *op_types)
        return None if node is None else node.inputs[0]

    def before(self, value: ir.Value | None, *op_types: str) -> ir.Value | None:
        """The first operand of the node that makes a value, if it is one of these operators, else the value."""
        node = made_by(value, *op_types)
        return value if node is None else node.inputs[0]

    def only_use(self, value: ir.Value | None) -> bool:
        """Whether a value has one use, as one input of one node, and is no output of the graph."""
        return value is not None and len(value.uses()) == 1 and not value.is_graph_output()

    def operands(self, node: ir.Node | None, op_type: str) -> list[tuple[ir.Node, ir.Value]]:
        """(producer, other operand) for each operand of a commutative binary node that `op_type` made."""
        found = []
        for one, other in self.both_ways(node):
            producer = self.producer(one, op_type)
            if producer is not None and other is not None:
                found.append((producer, other))
        return found

    def both_ways(self, node: ir.Node | None) -> list[tuple[ir.Value | None, ir.Value | None]]:
        """The operands of a binary node in both orders; none for other nodes, or for no node."""
        if node is None or len(node.inputs) != 2:
            return []
        left, right = node.inputs
        return [(left, right), (right, left)]

    def with_number(self, value: ir.Value | None, *op_types: str) -> list[tuple[ir.Node, ir.Value, float]]:
        """(node, operand, number) of the binary node that makes a value of a constant number and another operand.

        The node is one of these operators. Of Sub and Div, the number is the second operand.
        """
        node, found = made_by(value, *op_types), []
        for x, constant in self.both_ways(node):
            number = self.scalar(constant)
            if node is not None and x is not None and number is not None:
                found.append((node, x, number))
            if node is not None and node.op_type in ("Sub", "Div"):
                break
        return found

    def product(self, value: ir.Value) -> tuple[float, list[ir.Value]]:
        """A value as a number times factors: Mul, Neg and Div by a number are split.

        `0.5 * x * -y` gives `(-0.5, [x, y])`. Rounding differs by the order of the factors only.
        """
        number, factors, stack = 1.0, [], [value]
        while stack:
            one = stack.pop()
            constant = self.scalar(one)
            node = self.producer(one, "Mul", "Neg", "Div")
            if constant is not None:
                number *= constant
            elif node is None:
                factors.append(one)
            elif node.op_type == "Neg":
                number = -number
                stack.append(node.inputs[0])  # type: ignore[arg-type]
            elif node.op_type == "Mul":
                stack += [node.inputs[1], node.inputs[0]]  # type: ignore[list-item]
            else:
                divisor = self.scalar(node.inputs[1])
                if divisor:
                    number /= divisor
                    stack.append(node.inputs[0])  # type: ignore[arg-type]
                else:
                    factors.append(one)
        return number, factors

    def slice_of(self, value: ir.Value | None) -> Slice | None:
        """A value as a slice with step 1 along one axis of another value, or None if it is none."""
        node = self.producer(value, "Slice")
        if node is None or node.inputs[0] is None:
            return None
        shape = shape_of(node.inputs[0])
        parts = [part.tolist() for part in self.constants(node.inputs[1:]) or ()]
        if shape is None or len(parts) < 3:
            return None
        if len(parts) > 3 and any(step != 1 for step in parts[3]):
            return None
        found = None
        for start, end, axis in zip(*parts[:3], strict=True):
            axis, size = axis % len(shape), shape[axis]
            if not isinstance(size, int):
                return None
            start, end = (min(max(i + size if i < 0 else i, 0), size) for i in (start, end))
            if (start, end) == (0, size):
                continue
            if found is not None:
                return None
            found = Slice(node.outputs[0], node.inputs[0], axis, start, end)
        return found

    def slices(self, value: ir.Value) -> list[Slice] | None:
        """The slices of a value, if all its uses are slices along one axis that do not overlap."""
        found: list[Slice] = []
        for user, index in value.uses():
            one = self.slice_of(user.outputs[0]) if index == 0 else None
            if one is None or (found and one.axis != found[0].axis):
                return None
            found.append(one)
        found.sort(key=lambda one: one.start)
        overlap = any(left.stop > right.start for left, right in itertools.pairwise(found))
        return None if overlap or value.is_graph_output() else found

    def attr(self, node: ir.Node, name: str, default: Any = None) -> Any:
        """An attribute's value, or the default."""
        return attribute_of(node, name, default)

    def attrs(self, node: ir.Node) -> dict[str, Any]:
        """All attributes that are given, by name."""
        return {name: attribute.value for name, attribute in node.attributes.items()}

    def shape(self, value: ir.Value | None) -> tuple[Any, ...] | None:
        """A value's shape, if it is known."""
        return shape_of(value) if value is not None else None

    def size(self, value: ir.Value | None) -> int | None:
        """The number of a value's elements, None if it is not known."""
        shape = static_shape(value)
        return None if shape is None else math.prod(shape)

    def only_finite(self, value: ir.Value, how: str) -> ir.Value:
        """The value, with a note of how its operator differs from JAX for NaN or infinities."""
        return only_finite(value, how)

    def difference(self, node: ir.Node) -> str | None:
        """The note of `only_finite` at a node."""
        return difference(node)

    def dtype(self, value: ir.Value) -> np.dtype[Any]:
        """A value's dtype."""
        return numpy_dtype(value)

    def is_float(self, value: ir.Value | None) -> bool:
        """Whether a value is known to be of floats."""
        return is_float(value)

    def is_integer(self, value: ir.Value | None) -> bool:
        """Whether a value is known to be of integers."""
        return is_integer(value)

    def same_shape(self, left: ir.Value | None, right: ir.Value | None) -> bool:
        """Whether two values have equal shapes for all sizes."""
        return same_shape(self.shape(left), self.shape(right))

    def reduced_axes(self, node: ir.Node) -> list[int] | None:
        """The axes that the second operand of a reduction names, in order and counted from the front.

        None if it has no such operand, or they are not known.
        """
        axes, shape = self.constant((*node.inputs, None)[1]), self.shape(node.inputs[0])
        return None if axes is None or shape is None else sorted(int(axis) % len(shape) for axis in axes)


def _order(own: Sequence[Sequence[Part]], wanted: Sequence[Sequence[Part]]) -> list[int]:
    """The permutation of axes of one part or none to these axes; those of size 1 that are not wanted come first."""
    ones = [index for index, axis in enumerate(own) if not axis]
    places = {axis[0]: index for index, axis in enumerate(own) if axis}
    surplus = max(0, len(ones) - wanted.count([]))
    order, ones = ones[:surplus], ones[surplus:]
    for axis in wanted:
        order += [places[part] for part in axis] if axis else ones[:1]
        ones = ones if axis else ones[1:]
    return order
