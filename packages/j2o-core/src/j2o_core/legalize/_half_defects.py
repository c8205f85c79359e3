"""Results in float16 that are widened: the runtime computes them in float32 and leaves out the rounding.

It has few kernels for float16. Around the other nodes it puts casts, and it removes those that meet a cast back: what
overflows or underflows float16 then reaches the wider type as the number that it never was. (Between operations that
all give float16 nothing is done about it: a chain of them is rounded at its end.)
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ._composer import Composer, dimensions

T = ir.DataType

# These have kernels for float16 on every processor: what they give is rounded.
_NATIVE = frozenset(
    {"Cast", "Clip", "Concat", "Constant", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Max", "Min"}
    | {"Reshape", "ScatterElements", "ScatterND", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)


def widened(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Cast(x) as Cast(Reshape(x)), whose kernel takes float16 and does nothing, where x is computed."""
    x = node.inputs[0]
    if x is None or x.dtype is not T.FLOAT16 or T(c.attribute("to", 0)) is T.FLOAT16 or not _is_computed(x):
        return None
    # 0 stands for the size that is there. (Max(x, x) would do as well, and takes ten times as long as the cast.)
    rounded = c.op("Reshape", x, c.ints([0] * len(dimensions(x))), trusted=True)
    attributes = {name: c.attribute(name, None) for name in node.attributes}
    return [c.op("Cast", rounded, dtype=node.outputs[0].dtype, **attributes)]


def _is_computed(x: ir.Value) -> bool:
    producer = x.producer()
    while producer is not None and producer.op_type == "Identity":
        # Removed by the runtime.
        assert producer.inputs[0] is not None
        producer = producer.inputs[0].producer()
    return producer is not None and producer.op_type not in _NATIVE
