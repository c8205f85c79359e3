"""Walks over a graph and the graphs nested in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import onnx_ir as ir

_HOLDS_GRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


G = TypeVar("G", bound="ir.Graph | ir.Function")


def all_graphs(graph: G) -> Iterator[G | ir.Graph]:
    """A graph or function and all graphs nested in it, each behind the one around it."""
    waiting: list[Any] = [graph]
    while waiting:
        outer = waiting.pop()
        yield outer
        waiting.extend(reversed([inner for node in outer for inner in bodies(node)]))


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs that a node holds."""
    if node.domain == "" and node.op_type not in _HOLDS_GRAPHS:
        return []
    return [
        body
        for attribute in node.attributes.values()
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for body in ([attribute.value] if attribute.type is ir.AttributeType.GRAPH else attribute.value)
    ]


def remove_unused_nodes(graph: ir.Graph) -> None:
    """Remove every node whose results have no use, in nested graphs too."""
    outputs = set(graph.outputs)
    for node in reversed(graph):
        if any(value in outputs or value.uses() for value in node.outputs):
            for body in bodies(node):
                remove_unused_nodes(body)
        else:
            graph.remove(node, safe=True)
