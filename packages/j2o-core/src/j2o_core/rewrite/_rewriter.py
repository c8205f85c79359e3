"""What a rewrite rule is given: looking at the graph around a node, and building the replacement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from .._builder import Builder
from .._compat import is_symbolic
from .._dims import Dimensions
from .._infer import same_shape
from .._layout import expand, reshape
from .._values import numpy_dtype, shape_of


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
        opset: the target opset.
    """

    def __init__(self, builder: Builder, dims: Dimensions):
        self.op = builder
        self.opset = builder.opset
        self._dims = dims
        self.asked_for_sizes = False

    def const(self, value: Any, dtype: Any = None) -> ir.Value:
        """A constant; `dtype` is a dtype or a value whose dtype is taken."""
        return self.op.const(value, dtype)

    def reshape(self, x: ir.Value, shape: Any) -> ir.Value:
        """`x` with another shape of the same number of elements."""
        self.asked_for_sizes |= any(map(is_symbolic, shape))
        return reshape(self.op, self._dims, x, shape)

    def rows(self, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """A constant written out to a symbolic shape, once for the whole graph."""
        self.asked_for_sizes = True
        return expand(self._dims.builder, self._dims, x, shape)

    def cut(self, x: ir.Value, axis: int, start: int, stop: int) -> ir.Value:
        """`x[start:stop]` along an axis; of a constant, a constant."""
        array = self.op.constant_value(x)
        if array is not None:
            part = array[(slice(None),) * axis + (slice(start, stop),)]
            hint = self.op.constants.hint(x)
            return self.op.constants.get(part, f"{hint}[{start}:{stop}]" if hint else None)
        result: ir.Value = self.op.Slice(x, *(self.const([i], np.int64) for i in (start, stop, axis)))
        return result

    def derived(self, source: ir.Value, how: str, make: Callable[[np.ndarray[Any, Any]], Any]) -> ir.Value:
        """A constant made from the array of another, stored once for each way `how` it is made."""
        return self.op.constants.derived(source, how, make)

    def constant(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array of a constant, None for everything else."""
        return self.op.constant_value(value)

    def scalar(self, value: ir.Value | None) -> float | None:
        """The number that a constant holds in every element, if it is one and the same."""
        array = self.op.constant_value(value)
        if array is None or array.size == 0 or array.dtype.kind not in "fiu":
            return None
        first = array.reshape(-1)[0]
        return float(first) if array.size == 1 or bool((array == first).all()) else None

    def producer(self, value: ir.Value | None, *op_types: str) -> ir.Node | None:
        """The node that makes a value, if it is one of these operators."""
        node = value.producer() if value is not None else None
        return node if node is not None and (not op_types or node.op_type in op_types) else None

    def only_use(self, value: ir.Value) -> bool:
        """Whether exactly one input of one node reads a value, and it is no output of the graph."""
        return len(value.uses()) == 1 and not value.is_graph_output()

    def operands(self, node: ir.Node, op_type: str) -> list[tuple[ir.Node, ir.Value]]:
        """(producer, other operand) for each operand of a commutative binary node that `op_type` made."""
        left, right = node.inputs
        pairs = [(left, right), (right, left)]
        found = []
        for one, other in pairs:
            producer = self.producer(one, op_type)
            if producer is not None and other is not None:
                found.append((producer, other))
        return found

    def product(self, value: ir.Value) -> tuple[float, list[ir.Value]]:
        """A value as a number times factors: Mul, Neg and Div by a number are taken apart.

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
        parts = [self.constant(part) for part in node.inputs[1:]]
        if shape is None or len(parts) < 3 or any(part is None for part in parts):
            return None
        starts, ends, axes = parts[:3]
        if len(parts) > 3 and (parts[3] != 1).any():  # type: ignore[union-attr]
            return None
        found = None
        for start, end, axis in zip(starts, ends, axes, strict=True):  # type: ignore[arg-type]
            axis, size = int(axis) % len(shape), shape[int(axis)]
            if not isinstance(size, int):
                return None
            start, end = (min(max(int(i) + size if i < 0 else int(i), 0), size) for i in (start, end))
            if (start, end) == (0, size):
                continue
            if found is not None:
                return None
            found = Slice(node.outputs[0], node.inputs[0], axis, start, end)
        return found

    def slices(self, value: ir.Value, *, other_readers: bool = False) -> list[Slice] | None:
        """How a value is cut up, if all its readers are slices along one axis that do not overlap.

        With `other_readers`, readers that are no slices do not matter.
        """
        found: list[Slice] = []
        for user, index in value.uses():
            one = self.slice_of(user.outputs[0]) if index == 0 else None
            if one is None and other_readers:
                continue
            if one is None or (found and one.axis != found[0].axis):
                return None
            found.append(one)
        found.sort(key=lambda one: one.start)
        overlap = any(left.stop > right.start for left, right in itertools.pairwise(found))
        return None if overlap or (value.is_graph_output() and not other_readers) else found

    def attr(self, node: ir.Node, name: str, default: Any = None) -> Any:
        """An attribute's value, or the default."""
        attribute = node.attributes.get(name)
        return default if attribute is None else attribute.value

    def shape(self, value: ir.Value | None) -> tuple[Any, ...] | None:
        """A value's shape, if it is known."""
        return shape_of(value) if value is not None else None

    def dtype(self, value: ir.Value) -> np.dtype[Any]:
        """A value's dtype."""
        return numpy_dtype(value)

    def same_shape(self, left: ir.Value, right: ir.Value) -> bool:
        """Whether two values have equal shapes for all sizes."""
        return same_shape(shape_of(left), shape_of(right))
