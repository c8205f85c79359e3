"""Adds nodes to a finished graph: before an anchor, named after what they replace, stamped with type and shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._kept import KEPT
from ..graph._walk import all_graphs

Array = np.ndarray[Any, Any]


class Names:
    """Fresh names of values and nodes, unlike all in the model, which is only read when the first name is asked."""

    def __init__(self, model: ir.Model):
        self._model = model
        self._used: set[str] | None = None

    def fresh(self, stem: str) -> str:
        """The stem, with a number if it is taken."""
        if self._used is None:
            self._used = set(self._read())
        name, number = stem, 0
        while name in self._used:
            number += 1
            name = f"{stem}_{number}"
        self._used.add(name)
        return name

    def _read(self) -> Iterator[str]:
        roots: list[ir.Graph | ir.Function] = [self._model.graph, *self._model.functions.values()]
        for root in roots:
            for graph in all_graphs(root):
                values: list[ir.Value] = list(graph.inputs)
                if isinstance(graph, ir.Graph):
                    values += graph.initializers.values()
                for node in graph:
                    values += node.outputs
                    if node.name:
                        yield node.name
                yield from (value.name for value in values if value.name)


class Emitter:
    """Adds nodes and constants to one graph of a model and the graphs inside it."""

    def __init__(self, root: ir.Graph | ir.Function, names: Names):
        self._root = root
        self._names = names
        self._constants: dict[tuple[Any, ...], ir.Value] = {}
        self._added: list[ir.Node] = []
        self._sources: list[ir.Node] = []

    def node(
        self,
        anchor: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Iterable[ir.Attr],
        outputs: Sequence[tuple[ir.DataType | None, ir.Shape | None]],
        name: str,
    ) -> ir.Node:
        """Adds a node before `anchor`, which it takes its metadata from."""
        node = ir.Node("", op_type, inputs, attributes, num_outputs=len(outputs))
        node.name = self._names.fresh(name)
        node.metadata_props.update(anchor.metadata_props)
        node.meta.update(anchor.meta)
        for index, (value, (dtype, shape)) in enumerate(zip(node.outputs, outputs, strict=True)):
            value.name = self._names.fresh(node.name if index == 0 else f"{node.name}:{index}")
            stamp(value, dtype, shape)
        anchor.prepend(node)
        self._added.append(node)
        return node

    def constant(self, anchor: ir.Node, array: Array) -> ir.Value:
        """A constant, the same value for equal arrays."""
        key = (array.dtype, array.shape, array.tobytes())
        known = self._constants.get(key)
        if known is not None:
            return known
        tensor = ir.Tensor(array, dtype=ir.DataType.from_numpy(array.dtype))
        outputs = [(tensor.dtype, ir.Shape(array.shape))]
        if isinstance(self._root, ir.Function):
            # A function has no initializers.
            return self.node(anchor, "Constant", [], [ir.AttrTensor("value", tensor)], outputs, "const").outputs[0]
        value = ir.Value(name=self._names.fresh("legal_const"), const_value=tensor)
        tensor.name = value.name
        stamp(value, *outputs[0])
        self._root.register_initializer(value)
        self._constants[key] = value
        return value

    def replace(self, node: ir.Node, values: Sequence[ir.Value]) -> None:
        """Puts values in the place of a node's outputs, under their names, and removes the node."""
        for old, new in zip(node.outputs, values, strict=True):
            name, old.name = old.name, None
            new.type, new.shape = old.type, old.shape
            new.doc_string = old.doc_string
            new.metadata_props.update(old.metadata_props)
            new.meta.update(old.meta)
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name = name
        assert node.graph is not None
        self._sources += _sources(node)
        node.graph.remove(node, safe=True)

    def remove_unused(self) -> None:
        """Removes what only replaced nodes read, and what was added and found no use, such as a cast back."""
        pending = [*self._sources, *self._added]
        while pending:
            node = pending.pop()
            if node.graph is not None and not any(v.uses() or v.is_graph_output() for v in node.outputs):
                pending += _sources(node)
                node.graph.remove(node, safe=True)


def _sources(node: ir.Node) -> list[ir.Node]:
    return [source for value in node.inputs if value is not None and (source := value.producer()) is not None]


def stamp(value: ir.Value, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Sets element type and shape; the shape is copied."""
    if dtype is not None:
        value.type = ir.TensorType(dtype)
    if shape is not None:
        value.shape = shape.copy()


def attributes_of(values: Mapping[str, Any]) -> list[ir.Attr]:
    """Attributes from Python values; None stands for the default and is left out."""
    return [
        value if isinstance(value, ir.Attr) else ir.convenience.convert_attribute(name, value)
        for name, value in values.items()
        if value is not None
    ]


def read_attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The Python value of an attribute, or the default."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    # A float attribute is a float32 number once it is written.
    return float(np.float32(attribute.value)) if attribute.type is ir.AttributeType.FLOAT else attribute.value


def read_constant(value: ir.Value | None) -> Array | None:
    """The array of a value that is an initializer or comes from a Constant node."""
    if value is None:
        return None
    if KEPT in value.meta:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    producer = value.producer()
    if producer is None or producer.op_type != "Constant":
        return None
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        if name in producer.attributes:
            stored = producer.attributes[name].value
            if name == "value":
                return np.asarray(stored.numpy())
            return np.asarray(stored, np.int64 if "int" in name else np.float32)
    return None
