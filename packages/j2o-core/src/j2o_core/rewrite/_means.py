"""Sums that are divided as means, and additions behind a convolution as its bias."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._infer import same_shape
from ._plugin import plugin
from ._rewriter import Rewriter


@plugin.rewrite("Div", "Mul", needs=("ReduceSum",))
def _mean(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Div(ReduceSum(x, axes), n) -> ReduceMean(x, axes), for floats and n elements; Unsqueeze may come between."""
    for total, divisor in rw.both_ways(node)[: 2 if node.op_type == "Mul" else 1]:
        layout = rw.producer(total, *traits.RESHAPES)
        layout = layout if layout is not None and rw.only_use(layout.outputs[0]) else None
        reduction = rw.producer(layout.inputs[0] if layout is not None else total, "ReduceSum")
        if reduction is None or total is None or not rw.is_float(total) or not rw.same_shape(total, node.outputs[0]):
            continue
        if rw.dtype(total).itemsize < 2:
            continue  # a sum in float8 soon is NaN where the mean is none
        shape, axes = rw.shape(reduction.inputs[0]) or (), rw.reduced_axes(reduction)
        count: Any = math.prod(shape[axis] for axis in axes or ())
        if not axes or not isinstance(count, int) or count == 0:
            continue
        expected = count if node.op_type == "Div" else float(np.asarray(1 / count, rw.dtype(total)))
        if rw.scalar(divisor) == expected:
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
