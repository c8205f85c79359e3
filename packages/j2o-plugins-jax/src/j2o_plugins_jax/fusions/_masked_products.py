"""Products with a truth value, for `nonfinite="exact"`: Where.

before: Mul(x, Cast(c))
after:  Where(c, x, 0)

XLA compiles a product with a converted boolean into that choice: NaN, infinities and -0 become 0 where the boolean is
false. It does so for the products of float16, float32 and float64 whose converted operand is not broadcast. ONNX
Runtime's Where takes up to twelve times as long as Cast and Mul, so that by default the product stays, with a note.
"""

from __future__ import annotations

import ml_dtypes
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin

_DTYPES = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)


@plugin.rewrite("Mul", late=True)
def _masked_product(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    result = node.outputs[0]
    for x, factor in rw.both_ways(node) if result.dtype in _DTYPES else ():
        mask = rw.operand_of(factor, "Cast")
        if x is None or mask is None or mask.dtype is not ir.DataType.BOOL or not rw.same_shape(factor, result):
            continue
        numbers, info = rw.range(x), ml_dtypes.finfo(rw.dtype(x))
        if rw.exact_nonfinite:
            positive = numbers.within(0, float(info.max)) and not numbers.negative_zero
            return None if positive else rw.op.Where(mask, x, rw.const(0, x))
        if not numbers.within(float(info.min), float(info.max)):
            rw.only_finite(result, "NaN and infinities give NaN where a boolean factor is false, in JAX 0")
    return None
