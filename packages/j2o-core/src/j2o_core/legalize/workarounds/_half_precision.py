"""Results in float16: the runtime computes them in float32 and leaves out the rounding.

It has few kernels for float16. Around the other nodes it puts casts, and it removes those that meet a cast back: what
overflows or underflows float16, or has more digits, then reaches the next node as the number that it never was. Between
operations that all give float16 nothing is done about it: a chain of them is rounded at its end, as XLA does it.

What is rounded is

- what a program widens or narrows by a cast of its own;
- what it compares: one side may have been rounded on its way (a Slice is enough), and no number would equal itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from .._composer import Composer

T = ir.DataType

# These have kernels for float16 on every processor: what they give is rounded.
_NATIVE = frozenset(
    {"Cast", "Clip", "Concat", "Constant", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Max", "Min"}
    | {"Reshape", "ScatterElements", "ScatterND", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)

# Every value of these is one of float16.
_EXACT = frozenset({T.BOOL, T.INT8, T.UINT8, T.INT4, T.UINT4, T.FLOAT16, T.FLOAT8E4M3FN, T.FLOAT8E5M2})


def widened(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Cast(x) as Cast(Reshape(x)), whose kernel takes float16 and does nothing, where x is computed."""
    x = node.inputs[0]
    if x is None or x.dtype is not T.FLOAT16 or T(c.attribute("to", 0)) is T.FLOAT16 or not _is_computed(x):
        return None
    return [_cast(c, node, c.apart(x))]


def narrowed(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Cast(x) to float16 as Reshape(Cast(x)), where the result is computed with."""
    x, result = node.inputs[0], node.outputs[0]
    if x is None or T(c.attribute("to", 0)) is not T.FLOAT16 or x.dtype in _EXACT:
        return None
    if all(reader.op_type in _NATIVE for reader, _ in result.uses()):
        return None
    return [c.apart(_cast(c, node, x))]


def compared(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Equal(x, y) as Equal(Cast(x), Cast(y)) in float32, which casts as a program's own, where one is computed."""
    operands = [value for value in node.inputs if value is not None]
    if operands[0].dtype is not T.FLOAT16 or not any(map(_is_computed, operands)) or operands[0] is operands[1]:
        return None
    wide = {value: c.cast(value, T.FLOAT) for value in dict.fromkeys(operands)}
    return [c.op(node.op_type, *(wide[value] for value in operands), dtype=T.BOOL, shape=node.outputs[0].shape)]


def _cast(c: Composer, node: ir.Node, x: ir.Value) -> ir.Value:
    attributes = {name: c.attribute(name, None) for name in node.attributes}
    return c.op("Cast", x, dtype=node.outputs[0].dtype, trusted=True, **attributes)


def _is_computed(x: ir.Value) -> bool:
    producer = x.producer()
    while producer is not None and producer.op_type == "Identity":
        # Removed by the runtime.
        assert producer.inputs[0] is not None
        producer = producer.inputs[0].producer()
    return producer is not None and producer.op_type not in _NATIVE
