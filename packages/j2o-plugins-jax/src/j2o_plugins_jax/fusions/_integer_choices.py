"""Choices among many integers: arithmetic.

before: Where(c, x, y)
after:  Add(y, Mul(Cast(c), Sub(x, y))), of which the difference is z where x is y + z

The same numbers, as integers wrap around. ONNX Runtime's Where branches for each element: 100,000 of int32 take 0.68 ms
for conditions at random and 0.12 ms for constant ones, the sum 0.08 ms for either (1.32, one thread). Of 32 bits:
int64 takes twice as long, and floats would lose digits and infinities. Declines for few elements, symbolic numbers of
them, and conditions that are broadcast.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin

_DTYPES = (ir.DataType.INT32, ir.DataType.UINT32)
_MANY = 4096


@plugin.rewrite("Where", late=True)
def _choice(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    condition, x, y = node.inputs
    result = node.outputs[0]
    size = rw.size(result)
    if x is None or y is None or condition is None or size is None or result.dtype not in _DTYPES:
        return None
    if size < _MANY or not rw.same_shape(condition, result):
        return None
    chosen = rw.op.Cast(condition, to=result.dtype)
    return rw.op.Add(y, rw.op.Mul(chosen, _difference(rw, x, y)))


def _difference(rw: Rewriter, x: ir.Value, y: ir.Value) -> ir.Value:
    for one, other in rw.both_ways(rw.producer(x, "Add")):
        if one is y and other is not None:
            return other
    return rw.op.Sub(x, y)
