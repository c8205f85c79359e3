"""Many numbers of a vector: GatherElements.

before: Gather(x, indices) with x [n] and indices of any shape
after:  Reshape(GatherElements(x, Reshape(indices, [-1])), shape of indices)

The same numbers, from indices that count from the end, too. ONNX Runtime's Gather copies each number as a row of one:
100,000 take 1.13 ms, by GatherElements 0.07 ms (1.32, one thread); up to 16 there is no difference. Declines for
indices of several symbolic sizes, whose shape would have to be computed.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin

_FEW = 16


@plugin.rewrite("Gather", late=True)
def _numbers(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, indices = node.inputs
    whole, shape = rw.shape(x), rw.shape(indices)
    if x is None or indices is None or whole is None or len(whole) != 1 or shape is None:
        return None
    sizes = [size for size in shape if isinstance(size, int)]
    if 0 in sizes or (len(sizes) == len(shape) and math.prod(sizes) <= _FEW):
        return None
    if len(shape) == 1:
        return rw.op.GatherElements(x, indices, axis=0)  # type: ignore[no-any-return]
    if len(shape) - len(sizes) > 1:
        return None
    flat = rw.shared((indices, "flat"), lambda: rw.op.Reshape(indices, rw.const([-1], np.int64)))
    numbers = rw.op.GatherElements(x, flat, axis=0)
    return rw.op.Reshape(numbers, rw.const([s if isinstance(s, int) else -1 for s in shape], np.int64))  # type: ignore[no-any-return]
