"""Results in float16: the runtime computes them in float32 and leaves out the rounding.

It has few kernels for float16. Around the other nodes it puts casts, and it removes those that meet a cast back: what
overflows or underflows float16, or has more digits, then reaches the next node as the number that it never was. Between
operations that all give float16 nothing is done about it: a chain of them is rounded at its end, as XLA does it.

What is rounded is

- what a program widens or narrows by a cast of its own;
- what it compares: one side may have been rounded on its way (a Slice is enough), and no number would equal itself;
- what it orders: numbers that are equal in float16 would be none.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ...graph._values import made_by
from ...rewrite import Rewriter

T = ir.DataType

# These have kernels for float16 on every processor: what they give is rounded.
_NATIVE = frozenset(
    {"Cast", "Clip", "Concat", "Constant", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Max", "Min"}
    | {"Reshape", "ScatterElements", "ScatterND", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)


def widened(rw: Rewriter, node: ir.Node) -> Any:
    """Cast(x) behind an optimization barrier, whose kernel takes float16 and does nothing, where x is computed."""
    x = node.inputs[0]
    if x is None or T(rw.attr(node, "to")) is T.FLOAT16 or not _is_computed(x):
        return None
    return rw.op.plain("Cast", rw.op.barrier(x), **rw.attrs(node))


def narrowed(rw: Rewriter, node: ir.Node) -> Any:
    """Cast(x) to float16 before an optimization barrier, where the result is computed with."""
    x, result = node.inputs[0], node.outputs[0]
    if x is None or T(rw.attr(node, "to")) is not T.FLOAT16:
        return None
    if all(reader.op_type in _NATIVE for reader, _ in result.uses()):
        return None
    return rw.op.barrier(rw.op.plain("Cast", x, **rw.attrs(node)))


def compared(rw: Rewriter, node: ir.Node) -> Any:
    """Equal(x, y) as Equal(Cast(x), Cast(y)) in float32, which casts as a program's own, where one is computed."""
    operands = [value for value in node.inputs if value is not None]
    if not any(map(_is_computed, operands)) or operands[0] is operands[1]:
        return None
    wide = {value: rw.op.cast(value, T.FLOAT) for value in dict.fromkeys(operands)}
    return rw.op(node.op_type, *(wide[value] for value in operands))


def ordered(rw: Rewriter, node: ir.Node) -> Any:
    """ArgMax, ArgMin or TopK of Cast(x) in float32, which casts as a program's own, where x is computed."""
    x = node.inputs[0]
    if x is None or not _is_computed(x):
        return None
    inputs = (rw.op.cast(x, T.FLOAT), *node.inputs[1:])
    results = rw.op(node.op_type, *inputs, outputs=len(node.outputs), **rw.attrs(node))
    return (rw.op.cast(results[0], T.FLOAT16), *results[1:]) if node.op_type == "TopK" else results


def _is_computed(x: ir.Value | None) -> bool:
    while (producer := made_by(x)) is not None and producer.op_type == "Identity":  # which the runtime removes
        x = producer.inputs[0]
    return producer is not None and producer.op_type not in _NATIVE
