"""Sums that are divided as means, and additions behind a convolution as its bias."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._infer import same_shape
from ._plugin import plugin
from ._rewriter import Rewriter


@plugin.rewrite("Div", "Mul", needs=("ReduceSum",))
def _mean(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Div(ReduceSum(x, axes), n) -> ReduceMean(x, axes), for floats and n elements; Unsqueeze may come between."""
    pairs = [(node.inputs[0], node.inputs[1])]
    if node.op_type == "Mul":
        pairs.append((node.inputs[1], node.inputs[0]))
    for total, divisor in pairs:
        layout = rw.producer(total, *traits.RESHAPES)
        layout = layout if layout is not None and rw.only_use(layout.outputs[0]) else None
        reduction = rw.producer(layout.inputs[0] if layout is not None else total, "ReduceSum")
        if reduction is None:
            continue
        number = rw.scalar(divisor)
        if number is None or divisor is None or total is None:
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


@plugin.rewrite("Add", needs=traits.CONVOLUTIONS)
def _bias_of_convolution(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Add(Conv(x, w), b) -> Conv(x, w, b) for a weight b with one number per channel.

    Of one example also Add(Reshape(Conv(x, w), [channels, ...]), b) -> Reshape(Conv(x, w, b), [channels, ...]), where b
    is no constant: those have rules of their own, which go on with what they compute.
    """
    for value, bias in rw.both_ways(node):
        layout = rw.producer(value, "Reshape", "Squeeze") if rw.constant(bias) is None else None
        whole = layout.inputs[0] if layout is not None else value
        conv, shape, given = rw.producer(whole, *traits.CONVOLUTIONS), rw.shape(whole), rw.shape(bias)
        if conv is None or value is None or bias is None or shape is None or given is None or len(conv.inputs) > 2:
            continue
        if not rw.is_weight(bias) or not rw.only_use(conv.outputs[0]) or not rw.same_shape(value, node.outputs[0]):
            continue
        if layout is not None and (
            shape[0] != 1 or not same_shape(shape[1:], rw.shape(value)) or not rw.only_use(value)
        ):
            continue
        per_channel = [1, shape[1], *[1] * (len(shape) - 2)]
        if [*[1] * (len(shape) - len(given)), *given] != per_channel:
            continue
        result = rw.op(conv.op_type, *conv.inputs, rw.reshape(bias, [shape[1]]), **rw.attrs(conv))
        return result if layout is None else rw.reshape(result, rw.shape(value))
    return None
