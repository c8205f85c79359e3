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
    if len(node.inputs) != 2:
        return None
    for x, zero in rw.both_ways(node):
        if x is None or x.dtype is None or not x.dtype.is_floating_point() or rw.scalar(zero) != 0:
            continue
        if rw.same_shape(x, node.outputs[0]):
            return rw.op.Relu(x)
    return None
