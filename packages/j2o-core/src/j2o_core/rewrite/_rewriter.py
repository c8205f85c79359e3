"""What a rewrite rule is given: looking at the graph around a node, and building the replacement."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from .._builder import Builder
from .._infer import same_shape
from .._values import numpy_dtype, shape_of


class Rewriter:
    """The graph around one node, for a rule `rule(rw, node) -> value, values or None`.

    Attributes:
        op: builds nodes in front of the anchor, like `LoweringContext.op`.
        opset: the target opset.
    """

    def __init__(self, builder: Builder):
        self.op = builder
        self.opset = builder.opset

    def const(self, value: Any, dtype: Any = None) -> ir.Value:
        """A constant; `dtype` is a dtype or a value whose dtype is taken."""
        return self.op.const(value, dtype)

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
        return node if node is not None and node.domain == "" and (not op_types or node.op_type in op_types) else None

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
