"""Work that all calls of a function share is done once, in front of them, as it is where the calls are inlined.

    Block(x, length, w0): Where(Less(positions, length), ...) ...    ->    mask = Where(Less(positions, length), ...)
    Block(y, length, w1)                                                   Block(x, mask, w0), Block(y, mask, w1)

Such are masks, indices and the shapes that follow from symbolic sizes: ONNX Runtime puts the bodies in the place of the
calls when it loads a model, and does not see that they compute the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ..graph import traits
from ..graph._values import shape_of, stamp
from ..graph._walk import bodies, remove_unused_nodes
from ..lower._lowered import Lowered, LoweredFunction
from ..rewrite._invariants import has_half
from ..trace._modules import common_module


def share_work(function: LoweredFunction, part: Lowered, calls: Sequence[ir.Node]) -> list[ir.Value | None]:
    """Move what follows from the operands that all calls have in common in front of the first one.

    Args:
        function: the function; results become further inputs.
        part: the graph that all calls are in.
        calls: its calls, in order, at least two.

    Returns:
        The operands of each call for the further inputs, whose names are equal.
    """
    body, first = function.body.graph, calls[0]
    outer = {
        value: first.inputs[index]
        for index, value in enumerate(body.inputs)
        if all(node.inputs[index] is first.inputs[index] for node in calls)
    }
    module = common_module(node.metadata_props for node in calls)
    moved: list[ir.Node] = []
    shared: list[ir.Value | None] = []
    for node in body:
        operands = [_outside(value, outer, function, part) for value in node.inputs]
        if not _may_move(node) or any(
            new is None and old is not None for new, old in zip(operands, node.inputs, strict=True)
        ):
            continue
        copy = ir.Node(
            node.domain,
            node.op_type,
            operands,
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
            metadata_props={**node.metadata_props, **module},
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            stamp(new, old.dtype, shape_of(old))
            outer[old] = new
        moved.append(node)
        first.graph.insert_before(first, [copy])  # type: ignore[union-attr]  # it is in one
    for value in [value for node in moved for value in node.outputs]:
        readers = [(user, index) for user, index in value.uses() if user not in moved]
        operand = ir.Value(name="shared")
        stamp(operand, value.dtype, shape_of(value))
        body.inputs.append(operand)
        for user, index in readers:
            user.replace_input_with(index, operand)
        shared.append(outer[value])
    remove_unused_nodes(body)
    return shared


def _may_move(node: ir.Node) -> bool:
    """Whether a node computes the same outside: not a result, nothing random, no chain that is rounded at its end."""
    kept = node.domain or node.op_type in traits.NOT_DETERMINISTIC or bodies(node) or has_half(node)
    return not kept and not any(value.is_graph_output() for value in node.outputs)


def _outside(
    value: ir.Value | None, outer: Mapping[ir.Value, ir.Value | None], function: LoweredFunction, part: Lowered
) -> ir.Value | None:
    """A value of the body as one of the graph around it, None if it is known inside only."""
    if value is None or value in outer:
        return None if value is None else outer[value]
    array = function.body.constants.array(value)
    return None if array is None else part.constants.get(array, function.body.constants.hint(value))
