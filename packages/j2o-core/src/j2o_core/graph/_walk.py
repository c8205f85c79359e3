"""Walks over a graph and the graphs nested in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import onnx_ir as ir

from ._values import shape_of, stamp

# Operators of ONNX with graphs among their attributes.
HOLDS_GRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_NONE: tuple[ir.Graph, ...] = ()


G = TypeVar("G", bound="ir.Graph | ir.Function")


def all_graphs(graph: G) -> Iterator[G | ir.Graph]:
    """A graph or function and all graphs nested in it, each behind the one around it."""
    waiting: list[Any] = [graph]
    while waiting:
        outer = waiting.pop()
        yield outer
        # The first question of `bodies` is asked here: most nodes hold no graphs.
        inner = [body for node in outer if node.op_type in HOLDS_GRAPHS or node.domain for body in bodies(node)]
        waiting.extend(reversed(inner))


def model_graphs(model: ir.Model) -> Iterator[ir.Graph | ir.Function]:
    """The graph of a model, its functions, and all graphs nested in them."""
    yield from all_graphs(model.graph)
    for function in model.functions.values():
        yield from all_graphs(function)


def called(node: ir.Node, model: ir.Model) -> ir.Function | None:
    """The function of a finished model that a node calls, None for an operator."""
    return model.functions.get((node.domain, node.op_type, node.overload))


def bodies(node: ir.Node) -> Sequence[ir.Graph]:
    """The graphs that a node holds."""
    if node.op_type not in HOLDS_GRAPHS and node.domain == "":
        return _NONE
    return [
        body
        for attribute in node.attributes.values()
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for body in ([attribute.value] if attribute.type is ir.AttributeType.GRAPH else attribute.value)
    ]


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node and the graphs inside of it read, those that are made inside of it among them."""
    inside = (inner for body in bodies(node) for graph in all_graphs(body) for inner in graph)
    for reader in (node, *inside):
        yield from (value for value in reader.inputs if value is not None)


def used_constants(graphs: Iterable[ir.Graph]) -> list[ir.Value]:
    """The constants that the nodes of graphs read, in order."""
    used: dict[ir.Value, None] = {}
    for graph in graphs:
        for node in graph:
            for value in node.inputs:
                if value is not None and value.const_value is not None and value.producer() is None:
                    used[value] = None
    return list(used)


def remove_unused_nodes(graph: ir.Graph) -> None:
    """Remove every node whose results have no use, in nested graphs too."""
    outputs = set(graph.outputs)
    for node in reversed(graph):
        if any(map(ir.Value.uses, node.outputs)) or not outputs.isdisjoint(node.outputs):
            for body in bodies(node):
                remove_unused_nodes(body)
        else:
            remove(graph, node)


def remove(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node whose results have no use: what it reads, and what the graphs inside of it read, has fewer uses."""
    detach(node)
    graph.remove(node)
    for body in bodies(node):
        for inner in all_graphs(body):
            for other in inner:
                detach(other)


def detach(node: ir.Node) -> None:
    """Forget a node that is in no graph: its inputs have one use less."""
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)


def set_outputs(graph: ir.Graph, outputs: Sequence[ir.Value]) -> None:
    """Give a graph its outputs: each is a value of a node of its own, behind an Identity where it is not."""
    for value in outputs:
        producer = value.producer()
        if producer is None or producer.graph is not graph or value in graph.outputs:
            node = ir.Node("", "Identity", [value])
            stamp(node.outputs[0], value.dtype, shape_of(value))
            graph.append(node)
            value = node.outputs[0]
        graph.outputs.append(value)


def replace_output(graph: ir.Graph, old: ir.Value, new: ir.Value, anchor: ir.Node) -> None:
    """Put a value in the place of an output of a graph, behind an Identity where it cannot be one itself.

    Args:
        graph: the graph.
        old: the output; nothing is done if it is none.
        new: the value; an input, a constant, another output or a value of an outer graph needs the Identity.
        anchor: the node behind which the Identity is added.
    """
    if not old.is_graph_output():
        return
    producer = new.producer()
    if producer is None or producer.graph is not graph or new.is_graph_output():
        identity = ir.Node("", "Identity", [new], metadata_props=dict(anchor.metadata_props))
        stamp(identity.outputs[0], new.dtype, shape_of(new))
        graph.insert_after(anchor, [identity])
        new = identity.outputs[0]
    for place, value in enumerate(graph.outputs):
        if value is old:
            graph.outputs[place] = new
