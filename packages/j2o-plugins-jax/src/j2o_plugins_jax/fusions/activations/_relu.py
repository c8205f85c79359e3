"""Relu.

before: Max(x, 0)
after:  Relu(x)

The same numbers, NaN included, and unlike Max it merges with a convolution in front of it. Floats only.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin


@plugin.rewrite("Max")
def _relu(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for _, x, number in rw.with_number(node.outputs[0]):
        if number == 0 and rw.is_float(x) and rw.same_shape(x, node.outputs[0]):
            return rw.op.Relu(x)
    return None
