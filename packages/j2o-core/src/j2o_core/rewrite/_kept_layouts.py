"""Changes of layout of a weight that is kept are stored, and the initializer says how its elements lie in the leaf.

before: MatMul(x, Transpose(proj.weight, perm=[1, 0]))
after:  MatMul(x, proj.weight), an initializer with j2o.weight = {"leaf": "proj.weight", "shape": [8, 4], ...}

So are casts to narrower floats. ONNX Runtime would compute these nodes once, when it loads the model; a graph without
them reads better, and none of the numbers is needed for it: they are read when the file is written.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx_ir as ir

from ..graph._constants import Constants
from ..graph._kept import KEPT, STORED_LAYOUTS, ComputedWeight, KeptWeight, Weight, value_of
from ..graph._placement import Placement
from ..graph._values import numpy_dtype, shape_of, static_shape
from ..graph._walk import all_graphs
from ._computed_weights import Computable

# Behind the name of the weight that another one is computed from.
_COMPUTED = ".computed"


def store_layouts(graph: ir.Graph, constants: Constants, *, keep_weights: bool = False) -> None:
    """Replace nodes that change the layout of a kept weight by the weight in that layout.

    Args:
        graph: the main graph, or that of a function.
        constants: the constants that it reads.
        keep_weights: whether nothing is computed from leaves but their layouts.
    """
    found: dict[tuple[Any, ...], ir.Value] = {}
    outputs = set(graph.outputs)
    computable = Computable(graph, constants, keep_weights=keep_weights)
    nodes = [node for inner in all_graphs(graph) for node in inner if outputs.isdisjoint(node.outputs)]
    for last in (False, True):  # all layouts that are read are known before anything is computed from them
        for node in nodes:
            if node.graph is None:
                continue
            source = node.inputs[0] if node.op_type in _LAYOUTS else None
            weight: Weight | None = source.meta.get(KEPT) if source is not None else None
            stored = None if weight is None else in_layout(node, weight, constants)
            if stored is None and last:
                stored = computable.computed(node)
            if stored is None:
                continue
            if stored.key not in found:
                value = found[stored.key] = value_of(stored)
                hint = next(filter(None, (constants.hint(one) for one in node.inputs if one is not None)), None)
                if hint is not None:
                    value.meta.setdefault("j2o_name", f"{hint.removesuffix(_COMPUTED)}{_COMPUTED}")
            ir.convenience.replace_all_uses_with(node.outputs[0], found[stored.key])
            node.graph.remove(node, safe=True)


def in_layout(node: ir.Node, weight: Weight, constants: Constants) -> Weight | None:
    """A weight behind a node that changes its layout, None if it cannot be stored so.

    Args:
        node: one of `STORED_LAYOUTS`.
        weight: the operand of the node.
        constants: where the other operands are.
    """
    stored = _LAYOUTS[node.op_type](node, weight, constants)
    return stored if stored is not None and stored.shape == shape_of(node.outputs[0]) else None


def _numbers(constants: Constants, value: ir.Value | None) -> list[int] | None:
    array = constants.array(value)
    return None if array is None else [int(number) for number in array.reshape(-1)]


def _transpose(node: ir.Node, weight: Weight, constants: Constants) -> Weight | None:
    perm = node.attributes.get("perm")
    axes = list(range(len(weight.shape)))[::-1] if perm is None else [int(axis) for axis in perm.value]
    return weight.moved(lambda placement: placement.transposed(axes))


def _reshape(node: ir.Node, weight: Weight, constants: Constants) -> Weight | None:
    shape = static_shape(node.outputs[0])
    return weight.moved(lambda placement: placement.reshaped(shape)) if shape is not None else None


def cuts(node: ir.Node, constants: Constants) -> list[tuple[int, int, int, int]] | None:
    """(axis, start, stop, step) of each axis that a Slice cuts, None if not all are constant and forwards."""
    numbers = [_numbers(constants, value) for value in node.inputs[1:]]
    if any(one is None for one in numbers):
        return None
    starts, stops, *rest = [one or [] for one in numbers]
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    return None if any(step < 1 for step in steps) else list(zip(axes, starts, stops, steps, strict=True))


def _slice(node: ir.Node, weight: Weight, constants: Constants) -> Weight | None:
    found = cuts(node, constants)
    if found is None:
        return None

    def part(placement: Placement) -> Placement:
        for cut in found:
            placement = placement.sliced(*cut)
        return placement

    return weight.moved(part)


def _cast(node: ir.Node, weight: Weight, constants: Constants) -> Weight | None:
    """A narrower float, as NumPy rounds it: what is float64 it rounds twice on the way to bfloat16."""
    new = numpy_dtype(node.outputs[0])
    narrower = new.itemsize < weight.dtype.itemsize <= 4 and new.name in ("float16", "bfloat16")
    if not narrower:
        return None
    if isinstance(weight, KeptWeight):
        return dataclasses.replace(weight, dtype=new)
    return ComputedWeight("Cast", (weight,), new)


_LAYOUTS = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Flatten": _reshape,
    "Slice": _slice,
    "Cast": _cast,
}
assert _LAYOUTS.keys() == STORED_LAYOUTS
