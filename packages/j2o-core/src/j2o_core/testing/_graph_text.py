"""A graph as a few readable lines, the same for equal graphs whatever the order of their nodes.

A line is a chain: each node uses the one before it and is its only use. Its other operands are in
parentheses, the chain's own value as `_` unless it comes first. A type is shown where it changes:

    x:f32[B,3] -> MatMul(w)[B,4] -> %1
    %1 -> Sigmoid -> Mul(%1) -> output
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._domains import qualified
from ..graph._values import dtype_text, shape_text

# Larger anonymous constants are told by their type alone.
_SHOWN_ELEMENTS = 8


def graph_text(model: ir.Model) -> str:
    """The graph of a model as lines of chains."""
    names: dict[ir.Value, str] = {}
    return "\n".join(_Writer(model.graph, names).lines())


class _Writer:
    """Writes one graph. `names` is shared with the graphs nested in it, which may read outer values."""

    def __init__(self, graph: ir.Graph, names: dict[ir.Value, str], prefix: str = "%"):
        self._graph = graph
        self._names = names
        self._prefix = prefix
        self._inputs = set(graph.inputs)
        self._named_inputs: set[ir.Value] = set()
        self._labels = 0
        self._order = list(_from_outputs(graph))
        nodes, outputs = set(self._order), set(graph.outputs)
        # The value that each node's chain goes on from, and whether that is on the same line.
        self._trunk = {node: _trunk(node, nodes, outputs) for node in self._order}

    def lines(self) -> Iterator[str]:
        for value in self._graph.outputs if self._prefix == "%" else ():
            self._names[value] = str(value.name)
        for value in self._graph.inputs:
            self._names.setdefault(value, str(value.name))
        continued = {value.producer() for value, same_line in self._trunk.values() if same_line and value is not None}
        for node in self._order:
            if node not in continued:
                yield from self._chain(node)
        unread = [value for value in self._graph.inputs if value not in self._named_inputs and not value.uses()]
        for value in unread if self._prefix == "%" else ():
            yield f"{self._operand(value)} is not read"

    def _chain(self, last: ir.Node) -> Iterator[str]:
        """The line of the chain that ends at a node, and the graphs nested in it."""
        nodes = [last]
        source, same_line = self._trunk[last]
        while same_line:
            assert source is not None
            producer = source.producer()
            assert producer is not None
            nodes.append(producer)
            source, same_line = self._trunk[producer]
        nodes.reverse()
        parts = []
        if source is not None:
            parts.append(self._operand(source))
        nested: list[str] = []
        for node in nodes:
            parts.append(self._node(node, source))
            nested += self._nested(node)
            source = node.outputs[0]
        parts.append(", ".join(self._result(value) for value in last.outputs))
        yield " -> ".join(parts)
        yield from nested

    def _node(self, node: ir.Node, source: ir.Value | None) -> str:
        inputs = list(node.inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        if source is not None and inputs[0] is source and source not in inputs[1:]:
            inputs = inputs[1:]
            source_text = None
        else:
            source_text = "_"
        operands = [
            source_text if source_text and value is source else "" if value is None else self._operand(value)
            for value in inputs
        ]
        operands = [operand if operand is not None else "" for operand in operands]
        name = qualified(node)
        return f"{name}{'(' + ', '.join(operands) + ')' if operands else ''}{_types(node, source)}"

    def _operand(self, value: ir.Value) -> str:
        if value in self._names:
            name = self._names[value]
            if value in self._inputs and value not in self._named_inputs:
                self._named_inputs.add(value)
                return f"{name}:{dtype_text(value)}{shape_text(value)}"
            return name
        if value.const_value is not None:
            return _constant_text(value)
        return str(value.name)

    def _result(self, value: ir.Value) -> str:
        if value not in self._names:
            if not value.uses() and not value.is_graph_output():
                return "_"
            self._labels += 1
            self._names[value] = f"{self._prefix}{self._labels}"
        return self._names[value]

    def _nested(self, node: ir.Node) -> Iterator[str]:
        for name, attribute in sorted(node.attributes.items()):
            graphs: Sequence[ir.Graph] = ()
            if attribute.type == ir.AttributeType.GRAPH:
                graphs = [attribute.as_graph()]
            elif attribute.type == ir.AttributeType.GRAPHS:
                graphs = attribute.as_graphs()
            for graph in graphs:
                for position, value in enumerate(graph.inputs):
                    self._names[value] = f"{self._prefix}{name}{position}"
                writer = _Writer(graph, self._names, f"{self._prefix}{name}.")
                lines = list(writer.lines())
                results = ", ".join(writer._operand(value) for value in graph.outputs)
                yield from (f"  {line}" for line in [f"{node.op_type}.{name}:", *lines, f"return {results}"])


def _from_outputs(graph: ir.Graph) -> Iterator[ir.Node]:
    """Nodes of one graph, each after what it reads, in the order in which the outputs ask for them."""
    done: set[ir.Node] = set()
    stack = [(value.producer(), False) for value in reversed(graph.outputs)]
    while stack:
        node, ready = stack.pop()
        if node is None or node in done or node.graph is not graph:
            continue
        if ready:
            done.add(node)
            yield node
            continue
        stack.append((node, True))
        read = [*node.inputs, *_read_by_nested(node)]
        stack += [(value.producer(), False) for value in reversed(read) if value is not None]


def _read_by_nested(node: ir.Node) -> Iterator[ir.Value]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from (value for value in inner.inputs if value is not None)
                yield from _read_by_nested(inner)
            yield from attribute.as_graph().outputs


def _trunk(node: ir.Node, nodes: set[ir.Node], outputs: set[ir.Value]) -> tuple[ir.Value | None, bool]:
    """The operand that a node's chain comes from: the first that only it reads, else the first that is no constant."""
    values = [value for value in node.inputs if value is not None and value.const_value is None]
    for value in values:
        producer = value.producer()
        if producer is None or producer not in nodes or len(producer.outputs) > 1 or value in outputs:
            continue
        if all(user is node for user, _ in value.uses()):
            return value, True
    return (values[0] if values else None), False


def _types(node: ir.Node, source: ir.Value | None) -> str:
    texts = []
    for value in node.outputs:
        same_dtype = source is not None and source.dtype == value.dtype
        same_shape = source is not None and shape_text(source) == shape_text(value)
        text = "" if same_dtype else f":{dtype_text(value)}"
        texts.append(text if same_dtype and same_shape else f"{text}{shape_text(value)}")
    if len(set(texts)) == 1:
        return texts[0]
    return "|".join(texts)


def _constant_text(value: ir.Value) -> str:
    name = str(value.name or "")
    tensor = value.const_value
    assert tensor is not None
    if name and not name.startswith("const_"):
        return name
    if tensor.size <= _SHOWN_ELEMENTS:
        array = tensor.numpy()
        return _number_text(array.reshape(-1)[0]) if array.ndim == 0 else _list_text(array)
    return f"{dtype_text(value)}{shape_text(value)}"


def _list_text(array: np.ndarray[Any, Any]) -> str:
    if array.ndim == 0:
        return _number_text(array[()])
    return "[" + ",".join(_list_text(item) for item in array) + "]"


def _number_text(number: object) -> str:
    plain = np.asarray(number)
    if plain.dtype.kind == "b":
        return str(bool(plain))
    if plain.dtype.kind in "iu":
        return str(int(plain))
    return f"{float(plain):.6g}"
