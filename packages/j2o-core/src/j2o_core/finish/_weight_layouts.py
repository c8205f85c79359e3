"""Changes of layout of a weight leave the function that makes them: each call has the weight in that layout.

    Block(x, w0), Block(y, w1)                        Block(x, w0 transposed), Block(y, w1 transposed)
    Block(x, w): MatMul(x, Transpose(w))       ->     Block(x, w): MatMul(x, w)

The weights are stored so, as they are where the calls are inlined. ONNX Runtime would compute such nodes when it loads
the model, and would run slower: each result lies somewhere else in memory, and the weights of a file side by side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ..graph._constants import Constants
from ..graph._kept import KEPT, STORED_LAYOUTS, WEIGHT_INPUT, is_kept, value_of
from ..graph._values import shape_of, stamp
from ..graph._walk import all_graphs, remove_unused_nodes, used_constants
from ..lower._lowered import Lowered, LoweredFunction
from ..rewrite._kept_layouts import cuts, in_layout


class _View(NamedTuple):
    """A view of an array, and how its name goes on."""

    of: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
    suffix: str = ""


class WeightLayouts:
    """The weights of a model in the layouts in which its functions read them.

    Args:
        graph: the main graph, with the layouts that are stored already.
    """

    def __init__(self, graph: ir.Graph):
        self._graph = graph

    @functools.cached_property
    def _stored(self) -> dict[tuple[Any, ...], ir.Value]:
        """The weights that are kept, by their keys; asked for by the first of them."""
        weights = [(value.meta.get(KEPT), value) for value in used_constants(all_graphs(self._graph))]
        return {weight.key: value for weight, value in weights if weight is not None}

    def move(
        self,
        function: LoweredFunction,
        calls: Sequence[tuple[Lowered, ir.Node]],
        operands: Sequence[list[ir.Value | None]],
    ) -> list[int]:
        """Move the changes of layout out of a function if each of its calls can have them stored.

        Args:
            function: the function; the weights in their layouts become further inputs.
            calls: its calls, and the parts of the model that they are in.
            operands: those of each call; the weights in their layouts are appended.

        Returns:
            For each further input, which input it was made of; the names are equal.
        """
        graph, constants = function.body.graph, function.body.constants
        chains: dict[ir.Value | None, tuple[int, list[ir.Node]]] = {
            value: (index, []) for index, value in enumerate(graph.inputs) if WEIGHT_INPUT in value.meta
        }
        changed = []
        for node in graph:
            before = chains.get(node.inputs[0]) if node.op_type in STORED_LAYOUTS else None
            if before is None or node.outputs[0].is_graph_output():
                continue
            if all(constants.array(value) is not None for value in node.inputs[1:]):
                chains[node.outputs[0]] = before[0], [*before[1], node]
                changed.append(node.outputs[0])
        sources, changes = [], {value.producer() for value in changed}
        for value in changed:
            if all(user in changes for user, _ in value.uses()):  # cost: nothing would read its input
                continue
            index, chain = chains[value]
            views = [_view(node, constants) for node in chain]
            given = [
                self._after(part, one[index], chain, views, constants)
                for (part, _), one in zip(calls, operands, strict=True)
            ]
            if any(one is None for one in given):
                continue
            operand = ir.Value(name=graph.inputs[index].name)
            stamp(operand, value.dtype, shape_of(value))
            operand.meta[WEIGHT_INPUT] = True
            ir.convenience.replace_all_uses_with(value, operand)
            graph.inputs.append(operand)
            sources.append(index)
            for one, stored in zip(operands, given, strict=True):
                one.append(stored)
        remove_unused_nodes(graph)
        return sources

    def _after(
        self,
        part: Lowered,
        value: ir.Value | None,
        chain: Sequence[ir.Node],
        views: Sequence[_View | None],
        constants: Constants,
    ) -> ir.Value | None:
        """A weight behind changes of layout, as a value of the part of a call; None if it cannot be stored so."""
        if value is None:
            return None
        weight, array = value.meta.get(KEPT), part.constants.array(value)
        if weight is not None:
            for node in chain:
                weight = in_layout(node, weight, constants) if weight is not None else None
            return None if weight is None else self._stored.setdefault(weight.key, value_of(weight))
        if array is not None:
            hint = part.constants.hint(value)
            for view in views:
                if view is None:
                    return None
                array, hint = view.of(array), f"{hint}{view.suffix}" if hint else None
            return part.constants.get(array, hint)
        if not is_kept(value):
            return None
        first = next(iter(part.graph))  # in a function around, whose calls have the weight
        for node in chain:
            others = [part.constants.get(constants.array(one)) for one in node.inputs[1:]]
            copy = ir.Node("", node.op_type, [value, *others], list(node.attributes.values()))
            copy.metadata_props.update(node.metadata_props)
            stamp(copy.outputs[0], node.outputs[0].dtype, shape_of(node.outputs[0]))
            part.graph.insert_before(first, [copy])
            value = copy.outputs[0]
        return value


def _view(node: ir.Node, constants: Constants) -> _View | None:
    """The change of layout of a node for constants; None if it is no view of them."""
    if node.op_type == "Transpose":
        perm = node.attributes.get("perm")
        axes = None if perm is None else perm.value
        return _View(lambda array: array.transpose(axes))
    if node.op_type == "Cast":
        return None
    if node.op_type != "Slice":
        shape: Any = shape_of(node.outputs[0])
        return _View(lambda array: array.reshape(shape))
    found = cuts(node, constants)
    if found is None:
        return None
    parts = [slice(None)] * len(shape_of(node.outputs[0]) or ())
    for axis, *bounds in found:
        parts[axis] = slice(*bounds)
    _, start, stop, _ = found[0]
    return _View(lambda array: array[tuple(parts)], f"[{start}:{stop}]")
