"""Sums that are divided as means, and additions behind a convolution as its bias."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ._plugin import plugin
from ._rewriter import Rewriter


@plugin.rewrite("Div", "Mul")
def _mean(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Div(ReduceSum(x, axes), n) -> ReduceMean(x, axes), for floats and n elements; Unsqueeze may come between."""
    pairs = [(node.inputs[0], node.inputs[1])]
    if node.op_type == "Mul":
        pairs.append((node.inputs[1], node.inputs[0]))
    for total, divisor in pairs:
        layout = rw.producer(total, *traits.RESHAPES)
        layout = layout if layout is not None and rw.only_use(layout.outputs[0]) else None
        reduction = rw.producer(layout.inputs[0] if layout is not None else total, "ReduceSum")
        number = rw.scalar(divisor)
        if reduction is None or number is None or divisor is None or total is None:
            continue
        if total.dtype is None or not total.dtype.is_floating_point() or not rw.same_shape(total, node.outputs[0]):
            continue
        if total.dtype.itemsize < 2:
            continue  # a sum in float8 soon is NaN where the mean is none
        shape, axes = (
            rw.shape(reduction.inputs[0]),
            rw.constant(reduction.inputs[1]) if len(reduction.inputs) > 1 else None,
        )
        if shape is None or axes is None or len(axes) == 0:
            continue
        sizes = [shape[int(axis)] for axis in axes]
        if not all(isinstance(size, int) for size in sizes) or not math.prod(sizes):
            continue
        count = float(math.prod(sizes))
        expected = count if node.op_type == "Div" else float(np.asarray(1 / count, rw.dtype(divisor)))
        if number == expected:
            mean = rw.op.ReduceMean(*reduction.inputs, **rw.attrs(reduction))
            return mean if layout is None else rw.reshape(mean, rw.shape(total))
    return None


@plugin.rewrite("Add")
def _bias_of_convolution(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Add(Conv(x, w), b) -> Conv(x, w, b) for a constant b with one number per channel."""
    for conv, bias in [*rw.operands(node, "Conv"), *rw.operands(node, "ConvTranspose")]:
        array, shape = rw.constant(bias), rw.shape(conv.outputs[0])
        if array is None or shape is None or len(conv.inputs) > 2 or not rw.only_use(conv.outputs[0]):
            continue
        channels = shape[1]
        per_channel = [1] * len(shape)
        per_channel[1] = channels
        if list((1,) * (len(shape) - array.ndim) + array.shape) != per_channel:
            continue
        attrs = rw.attrs(conv)
        return rw.op(conv.op_type, *conv.inputs, rw.reshape(bias, [channels]), **attrs)  # type: ignore[no-any-return]
    return None
