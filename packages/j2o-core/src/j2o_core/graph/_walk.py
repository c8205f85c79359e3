"""Walks over a graph and the graphs nested in it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir


def all_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """A graph and all graphs nested in it."""
    yield graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from all_graphs(attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    yield from all_graphs(inner)


def remove_unused_nodes(graph: ir.Graph) -> None:
    """Remove every node whose results nobody reads, in nested graphs too."""
    outputs = set(graph.outputs)
    for node in reversed(graph):
        if any(value in outputs or value.uses() for value in node.outputs):
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    remove_unused_nodes(attribute.as_graph())
        else:
            graph.remove(node, safe=True)
