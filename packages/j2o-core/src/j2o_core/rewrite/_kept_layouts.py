"""Changes of layout of a weight that is kept are stored, and the initializer says how its elements lie in the leaf.

before: MatMul(x, Transpose(proj.weight, perm=[1, 0]))
after:  MatMul(x, proj.weight), an initializer with j2o.weight = {"leaf": "proj.weight", "shape": [8, 4], ...}

ONNX Runtime would compute these nodes once, when it loads the model; a graph without them reads better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._constants import Constants
from ..graph._kept import KEPT, STORED_LAYOUTS, KeptWeight, value_of
from ..graph._values import shape_of
from ..graph._walk import all_graphs

_Array = np.ndarray[Any, Any]


def store_layouts(graph: ir.Graph, constants: Constants) -> None:
    """Replace nodes that change the layout of a kept weight by the weight in that layout."""
    found: dict[tuple[Any, ...], ir.Value] = {}
    outputs = set(graph.outputs)
    for inner in all_graphs(graph):
        for node in list(inner):
            source = node.inputs[0] if node.inputs else None
            weight: KeptWeight | None = source.meta.get(KEPT) if source is not None else None
            if weight is None or node.op_type not in _LAYOUTS or not outputs.isdisjoint(node.outputs):
                continue
            part = _LAYOUTS[node.op_type](node, weight.part, constants)
            if part is None or not np.may_share_memory(part, weight.whole) or part.shape != shape_of(node.outputs[0]):
                continue
            key = (weight.leaf, part.__array_interface__["data"][0], part.shape, part.strides)
            if key not in found:
                found[key] = value_of(KeptWeight(weight.leaf, weight.whole, part))
            ir.convenience.replace_all_uses_with(node.outputs[0], found[key])
            inner.remove(node, safe=True)


def _numbers(constants: Constants, value: ir.Value | None) -> list[int] | None:
    array = constants.array(value)
    return None if array is None else [int(number) for number in array.reshape(-1)]


def _transpose(node: ir.Node, part: _Array, constants: Constants) -> _Array | None:
    perm = node.attributes.get("perm")
    return part.transpose(None if perm is None else [int(axis) for axis in perm.value])


def _reshape(node: ir.Node, part: _Array, constants: Constants) -> _Array | None:
    shape = shape_of(node.outputs[0])
    return None if shape is None or not all(isinstance(size, int) for size in shape) else part.reshape(shape)


def _slice(node: ir.Node, part: _Array, constants: Constants) -> _Array | None:
    numbers = [_numbers(constants, value) for value in node.inputs[1:]]
    if any(one is None for one in numbers):
        return None
    starts, stops, *rest = [one or [] for one in numbers]
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    index: list[Any] = [slice(None)] * part.ndim
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        if step < 1:
            return None
        index[axis] = slice(start, stop, step)
    return part[tuple(index)]  # type: ignore[no-any-return]


_LAYOUTS = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Flatten": _reshape,
    "Slice": _slice,
}
assert _LAYOUTS.keys() == STORED_LAYOUTS
