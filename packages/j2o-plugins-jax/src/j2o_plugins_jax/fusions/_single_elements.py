"""Reductions of single elements, which JAX's transposed broadcasts have: the elements as they are.

before: ReduceSum(x, axes), each of size 1                           after: Squeeze(x, axes), or x with keepdims=1
before: ReduceSum(ReduceMax(x, axes, keepdims=1), axes)              after: ReduceMax(x, axes)

The same numbers, but for -0, of which JAX's sum makes 0. Declines for symbolic sizes.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter
from j2o_core.graph import traits

from .._plugin import plugin

_REDUCTIONS = tuple(op_type for op_type in traits.REDUCTIONS if op_type not in traits.ARG_REDUCTIONS)


@plugin.rewrite(*_REDUCTIONS, late=True)
def _single_elements(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, axes = (*node.inputs, None)[:2]
    shape, places = rw.shape(x), rw.constant(axes)
    if x is None or shape is None or places is None or not places.size:
        return None
    if any(shape[place] != 1 for place in places.tolist()):
        return None
    if rw.attr(node, "keepdims", 1):
        return x
    before = rw.producer(x, *_REDUCTIONS)
    if before is not None and before.inputs[1:] == (axes,) and rw.attr(before, "keepdims", 1) and rw.only_use(x):
        return rw.op(before.op_type, *before.inputs, **{**rw.attrs(before), "keepdims": 0})  # type: ignore[no-any-return]
    return rw.op.Squeeze(x, axes)
