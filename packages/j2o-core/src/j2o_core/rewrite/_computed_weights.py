"""Arithmetic of weights alone is done while the file is written, some rows at a time: no result is held in memory.

before: MatMul(x, Add(Mul(w, 2), 1))
after:  MatMul(x, w), an initializer with j2o.weight = {"computed": "Add", "from": [{"computed": "Mul", ...}, ...]}

with weights that are not in memory, or constants that are too large to be folded before. Where weights are to be
replaced (`weights="keep"`), only constants are computed so, and each leaf is stored as it is.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._constants import Constants
from ..graph._kept import KEPT, OPERATIONS, ComputedWeight, KeptWeight, Weight
from ..graph._placement import whole
from ..graph._values import numpy_dtype, shape_of
from ..graph._walk import all_graphs, used_constants
from ..simplify import FOLD_LIMIT_BYTES
from ._tied import elements

# A record has the numbers of a constant in it: scales of channels, no tables.
_MOST_NUMBERS = 4096
_FLOATS = ("float32", "float16", "bfloat16")


class Computable:
    """The nodes of a graph that are arithmetic of weights, whose operands nothing else reads.

    Args:
        graph: the main graph.
        constants: the constants that it reads.
        keep_weights: whether leaves stay as they are.
    """

    def __init__(self, graph: ir.Graph, constants: Constants, *, keep_weights: bool):
        self._graph = graph
        self._constants = constants
        self._keep_weights = keep_weights

    @functools.cached_property
    def _readers(self) -> Mapping[Any, int]:
        """How many nodes read the elements of a leaf, or of the memory of a constant, in whichever order."""
        readers: collections.Counter[Any] = collections.Counter()
        for value in used_constants(all_graphs(self._graph)):
            readers[elements(value, self._constants)] += len({user for user, _ in value.uses()})
        return readers

    def computed(self, node: ir.Node) -> Weight | None:
        """The weight that a node computes, None if it stays a node."""
        if any(value is None or value.const_value is None for value in node.inputs) or not _is_operation(node):
            return None
        shape, dtype = shape_of(node.outputs[0]), numpy_dtype(node.outputs[0])
        if shape is None:
            return None
        operands = [self._operand(value, shape) for value in node.inputs]
        known = tuple(operand for operand in operands if operand is not None)
        if len(known) != len(operands):
            return None
        result = ComputedWeight(node.op_type, known, dtype)
        views, size = result.views(), math.prod(shape)
        # No more is stored than what it is computed from.
        if size > max(math.prod(view.source.shape) for view in views):
            return None
        if result.leaf:
            is_short = all(view.leaf or _is_short(view.source) for view in views)
            return result if is_short and not self._keep_weights else None
        return result if size * dtype.itemsize > FOLD_LIMIT_BYTES else None

    def _operand(self, value: ir.Value | None, shape: tuple[int, ...]) -> Weight | None:
        weight = self._weight(value)
        if value is None or weight is None or (weight.shape == shape and self._is_read_elsewhere(value)):
            return None
        return weight.moved(lambda placement: placement.broadcast(shape))

    def _weight(self, value: ir.Value | None) -> Weight | None:
        weight: Weight | None = None if value is None else value.meta.get(KEPT)
        array = self._constants.array(value)
        if weight is not None or array is None:
            return weight
        return KeptWeight("", array, whole(array.shape), array.dtype)

    def _is_read_elsewhere(self, value: ir.Value) -> bool:
        return len({user for user, _ in value.uses()}) > 1 or self._readers[elements(value, self._constants)] > 1


def _is_operation(node: ir.Node) -> bool:
    after = numpy_dtype(node.outputs[0]).name
    if node.op_type == "Cast":
        assert node.inputs[0] is not None
        return numpy_dtype(node.inputs[0]).name == "float32" and after in _FLOATS
    return node.op_type in OPERATIONS and after in _FLOATS


def _is_short(array: np.ndarray[Any, Any]) -> bool:
    """Whether the numbers of a constant may be written into a record."""
    return array.size <= _MOST_NUMBERS and bool(np.isfinite(array.astype(np.float32)).all())
