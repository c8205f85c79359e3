"""Functions of the file: their inputs are what their bodies read, and small constants lie inside of them.

A function has no initializers. A large constant of a body is one more input, and an initializer of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ..graph._domains import FUNCTION_DOMAIN, finish_domains
from ..graph._values import shape_of, stamp
from ..graph._walk import all_graphs, remove_unused_nodes, used_constants
from ..lower._lowered import Lowered, LoweredFunction
from ..trace._specs import unique_names
from ._names import name_values, place_nodes
from ._shared_work import share_work

# Larger constants are inputs.
_INSIDE_BYTES = 1024


def close_functions(lowered: Lowered) -> None:
    """Give each function exactly the inputs that its body reads, and its calls the same operands.

    Functions that nothing calls any more are dropped.
    """
    parts = lowered.parts()
    for part in parts:
        remove_unused_nodes(part.graph)
    functions = list(lowered.functions)
    for function in functions:  # a function before those that call it
        calls = [(part, node) for part in parts for node in _calls(part, function.name)]
        if not calls:
            lowered.functions.remove(function)
            parts.remove(function.body)
            continue
        remove_unused_nodes(function.body.graph)  # such as those that computed a dropped input
        part, first = calls[0]
        shared: list[ir.Value | None] = []
        if len(calls) > 1 and all(node.graph is first.graph for _, node in calls):
            shared = share_work(function, part, [node for _, node in calls])
        _drop_unused_inputs(function, [node for _, node in calls], shared)
        _constants_outside(function, calls)
        _constants_inside(function.body.graph)
    if functions:
        remove_unused_nodes(lowered.graph)


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


def _drop_unused_inputs(function: LoweredFunction, calls: Sequence[ir.Node], shared: Sequence[ir.Value | None]) -> None:
    """Leave a function the inputs that it reads; the last ones are not yet among the operands of the calls."""
    graph = function.body.graph
    read = [index for index, value in enumerate(graph.inputs) if value.uses() or value.is_graph_output()]
    graph.inputs[:] = [graph.inputs[index] for index in read]
    for node in calls:
        operands = [*node.inputs, *shared]
        _give(node, [operands[index] for index in read])


def _give(node: ir.Node, operands: Sequence[ir.Value | None]) -> None:
    node.resize_inputs(len(operands))
    for index, value in enumerate(operands):
        if node.inputs[index] is not value:
            node.replace_input_with(index, value)


def _constants_outside(function: LoweredFunction, calls: Sequence[tuple[Lowered, ir.Node]]) -> None:
    graph, constants = function.body.graph, function.body.constants
    for value in used_constants(all_graphs(graph)):
        array = constants.array(value)
        if array is None or array.nbytes <= _INSIDE_BYTES:
            continue
        hint = constants.hint(value)
        names = [str(known.name) for known in graph.inputs]
        operand = ir.Value(name=unique_names([*names, (hint or "constant").rpartition(".")[2]])[-1])
        stamp(operand, value.dtype, shape_of(value))
        ir.convenience.replace_all_uses_with(value, operand)
        graph.inputs.append(operand)
        for part, node in calls:
            _give(node, [*node.inputs, part.constants.get(array, hint)])


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
