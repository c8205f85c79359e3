"""Functions of the file: their inputs are what their bodies read, and small constants lie inside of them.

A function has no initializers. A large constant of a body is one more input, and an initializer of the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ..graph._domains import FUNCTION_DOMAIN, finish_domains
from ..graph._values import shape_of, stamp
from ..graph._walk import all_graphs, remove_unused_nodes, used_constants
from ..lower._lowered import Lowered, LoweredFunction
from ..rewrite._tied import tie
from ..trace._names import unique_names
from ._names import name_values, place_nodes
from ._shared_work import share_work
from ._weight_layouts import WeightLayouts

# Larger constants are inputs.
_INSIDE_BYTES = 1024


def close_functions(lowered: Lowered) -> None:
    """Give each function exactly the inputs that its body reads, and its calls the same operands.

    Functions that nothing calls any more are dropped.
    """
    parts = lowered.parts()
    for part in parts:
        remove_unused_nodes(part.graph)
    if not lowered.functions:  # cost: of the walks below
        return
    layouts = WeightLayouts(lowered.graph)
    for function in list(lowered.functions):  # a function before those that call it
        calls = [(part, node) for part in parts for node in _calls(part, function.name)]
        if not calls:
            lowered.functions.remove(function)
            parts.remove(function.body)
            continue
        graph = function.body.graph
        remove_unused_nodes(graph)  # such as those that computed a dropped input
        part, first = calls[0]
        nodes = [node for _, node in calls]
        operands = [list(node.inputs) for node in nodes]
        if len(calls) > 1 and all(node.graph is first.graph for node in nodes):
            for one, shared in itertools.product(operands, share_work(function, part, nodes)):
                one.append(shared)
        places = list(range(len(graph.inputs)))
        places += layouts.move(function, calls, operands)
        read = [index for index, value in enumerate(graph.inputs) if value.uses() or value.is_graph_output()]
        read.sort(key=places.__getitem__)  # a weight in its layout has the place of the weight
        graph.inputs[:] = [graph.inputs[index] for index in read]
        for value, name in zip(graph.inputs, unique_names([str(value.name) for value in graph.inputs]), strict=True):
            value.name = name
        for node, one in zip(nodes, operands, strict=True):
            _give(node, [one[index] for index in read])
        _constants_outside(function, calls)
        _constants_inside(graph)
    remove_unused_nodes(lowered.graph)
    tie(lowered.graph, lowered.constants)


def made_functions(lowered: Lowered, domains: Mapping[str, int]) -> list[ir.Function]:
    """The functions with names for everything in them."""
    made = []
    for function in lowered.functions:
        graph = function.body.graph
        graphs = list(all_graphs(graph))
        place_nodes(graphs)
        name_values(graphs, [str(value.name) for value in graph.inputs], _output_names(len(graph.outputs)))
        finish_domains(graphs, domains)
        made.append(ir.Function(FUNCTION_DOMAIN, function.name, graph=graph, attributes={}))
    return made


def _calls(part: Lowered, name: str) -> list[ir.Node]:
    op_type = f"{FUNCTION_DOMAIN}::{name}"
    return [node for graph in all_graphs(part.graph) for node in graph if node.op_type == op_type]


def _give(node: ir.Node, operands: Sequence[ir.Value | None]) -> None:
    node.resize_inputs(len(operands))
    for index, value in enumerate(operands):
        if node.inputs[index] is not value:
            node.replace_input_with(index, value)


def _constants_outside(function: LoweredFunction, calls: Sequence[tuple[Lowered, ir.Node]]) -> None:
    graph, constants = function.body.graph, function.body.constants
    for value in used_constants(all_graphs(graph)):
        array = constants.array(value)
        if value.const_value is None or value.const_value.nbytes <= _INSIDE_BYTES:
            continue
        hint = constants.hint(value)
        names = [str(known.name) for known in graph.inputs]
        operand = ir.Value(name=unique_names([*names, (hint or "constant").rpartition(".")[2]])[-1])
        stamp(operand, value.dtype, shape_of(value))
        ir.convenience.replace_all_uses_with(value, operand)
        graph.inputs.append(operand)
        for part, node in calls:
            _give(node, [*node.inputs, value if array is None else part.constants.get(array, hint)])


def _constants_inside(graph: ir.Graph) -> None:
    nodes = []
    for value in used_constants(all_graphs(graph)):
        node = ir.node("Constant", [], {"value": value.const_value})
        stamp(node.outputs[0], value.dtype, shape_of(value))
        ir.convenience.replace_all_uses_with(value, node.outputs[0])
        nodes.append(node)
    first = next(iter(graph), None)
    if first is not None:
        graph.insert_before(first, nodes)


def _output_names(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
