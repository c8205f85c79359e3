"""Compute what depends on a scan's items alone for all items at once, in front of the scan.

    Scan(xs; body: Add(carry, MatMul(x, w)))    ->    Scan(MatMul(xs, w); body: Add(carry, product))

It is one product instead of one in each turn: the input products of recurrent cells. Elementwise operators and changes
of layout of items follow, where the results are not larger than the items. float16 and bfloat16 stay: a chain of them
is rounded at its end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._constants import Constants
from ..graph._infer import same_shape
from ..graph._values import shape_of, stamp
from ..graph._walk import bodies, detach
from ._invariants import has_half

# Numbers of a product beyond which copying it into a turn costs more than the node that is saved.
_PRODUCT = 2048

_Sequences = dict[ir.Value, ir.Value]


def move_item_maps(graph: ir.Graph, constants: Constants | None = None) -> None:
    """Move maps of items out of all scans of a graph, the innermost first, in place.

    With `constants`, changes of layout too: for shapes that are not there yet.
    """
    for node in list(graph):
        for body in bodies(node):
            move_item_maps(body, constants)
        if node.op_type == "Scan":
            _move(graph, node, constants)


def _move(graph: ir.Graph, scan: ir.Node, constants: Constants | None) -> None:
    body = scan.attributes["body"].as_graph()
    items = list(body.inputs[len(scan.inputs) - scan.attributes["num_scan_inputs"].as_int() :])
    # The value of a sequence in the body, and the sequence.
    sequences: _Sequences = dict(zip(items, scan.inputs[-len(items) :], strict=True))  # type: ignore[arg-type]
    inside = set(body.inputs)
    moved: dict[ir.Node, ir.Node] = {}
    for node in body:
        whole = (
            _of_sequences(node, sequences, inside, constants) if set(body.outputs).isdisjoint(node.outputs) else None
        )
        if whole is None:
            inside.update(node.outputs)
        else:
            moved[node] = whole
            sequences[node.outputs[0]] = whole.outputs[0]
    needed = [
        value for value in sequences if any(user not in moved for user, _ in value.uses()) or value in body.outputs
    ]
    if not needed or len(moved) <= len(needed) - len(items):
        for whole in moved.values():
            detach(whole)
        return
    graph.insert_before(scan, list(moved.values()))
    _read(scan, body, items, {value: sequences[value] for value in needed})
    body.remove(moved, safe=True)


def _of_sequences(
    node: ir.Node, sequences: _Sequences, inside: set[ir.Value], constants: Constants | None
) -> ir.Node | None:
    """The node for all items at once, None if it reads other values of the body or is no map of items."""
    operands = [value for value in node.inputs if value is not None]
    items = [value for value in operands if value in sequences]
    if not items or has_half(node) or any(value in inside and value not in sequences for value in operands):
        return None
    length, shape = shape_of(sequences[items[0]]), shape_of(node.outputs[0])
    assert length is not None
    if node.op_type in traits.RESHAPES and constants is not None:
        if items != operands[:1] or shape is None or not all(isinstance(size, int) and size > 0 for size in shape):
            return None
        sizes = constants.get(np.array([-1, *shape], np.int64))
        whole = ir.Node("", "Reshape", [sequences[items[0]], sizes], metadata_props=node.metadata_props)
    else:
        attributes = _attributes(node, items)
        if attributes is None:
            return None
        inputs = [sequences.get(value, value) if value is not None else None for value in node.inputs]
        whole = ir.Node("", node.op_type, inputs, attributes, metadata_props=node.metadata_props)
    assert shape is not None
    stamp(whole.outputs[0], node.outputs[0].dtype, (length[0], *shape))
    return whole


def _attributes(node: ir.Node, items: list[ir.Value]) -> list[ir.Attr] | None:
    """The attributes with an axis in front of the items, None for what is not moved."""
    shape, shapes = shape_of(node.outputs[0]), [shape_of(value) for value in items]
    if shape is None or any(one is None for one in shapes):
        return None
    if node.op_type == "Transpose":
        perm = node.attributes["perm"].as_ints()
        return [ir.AttrInt64s("perm", [0, *(axis + 1 for axis in perm)])]
    if node.op_type == "MatMul":
        return list(node.attributes.values()) if _is_product_of_rows(node, items, shape) else None
    # Operands of fewer axes would be broadcast along other axes, those of an item and the new one.
    same_axes = all(len(one or ()) == len(shape) for one in shapes)
    if node.op_type in traits.POINTWISE and same_axes and any(same_shape(one, shape) for one in shapes):
        return list(node.attributes.values())
    return None


def _is_product_of_rows(node: ir.Node, items: list[ir.Value], shape: Any) -> bool:
    """MatMul(item, matrix): the rows of all items are multiplied alike."""
    left, right = node.inputs
    matrix = shape_of(right) if right is not None else None
    if left is not items[0] or len(items) != 1 or matrix is None or len(matrix) != 2:
        return False
    sizes = [size for size in shape if isinstance(size, int)]
    return math.prod(sizes) <= _PRODUCT


def _read(scan: ir.Node, body: ir.Graph, items: list[ir.Value], sequences: _Sequences) -> None:
    """Have a scan read these sequences; the body's values are what it sees of them."""
    carried = len(scan.inputs) - len(items)
    scan.resize_inputs(carried)
    scan.resize_inputs(carried + len(sequences))
    del body.inputs[carried:]
    for index, (value, sequence) in enumerate(sequences.items(), carried):
        scan.replace_input_with(index, sequence)
        if value in items:
            body.inputs.append(value)
            continue
        seen = ir.Value()
        stamp(seen, value.dtype, shape_of(value))
        value.replace_all_uses_with(seen)
        body.inputs.append(seen)
    scan.attributes["num_scan_inputs"] = ir.AttrInt64("num_scan_inputs", len(sequences))
    directions = scan.attributes.get("scan_input_directions")
    if directions is not None:  # the same for all: JAX reverses a whole scan
        reverse = directions.as_ints()[0]
        scan.attributes["scan_input_directions"] = ir.AttrInt64s("scan_input_directions", [reverse] * len(sequences))
