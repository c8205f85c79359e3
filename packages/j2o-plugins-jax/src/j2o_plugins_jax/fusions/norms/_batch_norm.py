"""Batch norm at inference, whose statistics and weights are kept, as BatchNormalization.

before: Add(Mul(Div(Sub(x, mean), Sqrt(Add(variance, epsilon))), scale), bias)          with a number for each channel
after:  BatchNormalization(x, scale, bias, mean, variance)

ONNX Runtime merges it into the weights of the convolution in front of it when it loads the model: five layers of 32
channels take 1.00 of the time of folded ones, the single operators 1.26 (1.32, one thread). Weights that are not kept
are folded before.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin
from ._group_norm import vector_of_channels


@plugin.rewrite("Add", makes="BatchNormalization")
def _batch_norm(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for scaled, bias in _operands(rw, node, "Mul"):
        for normalised, scale in _operands(rw, scaled, "Div"):
            centred = rw.producer(normalised.inputs[0], "Sub")
            found = _variance(rw, normalised.inputs[1])
            if centred is None or found is None:
                continue
            (x, mean), (variance, epsilon) = centred.inputs, found
            if x is None or x.dtype is not ir.DataType.FLOAT or len(rw.shape(x) or ()) < 3:
                continue
            weights = [vector_of_channels(rw, value, x) for value in (scale, bias, mean, variance)]
            if any(one is None or not rw.is_weight(one) for one in weights):
                continue
            return rw.op.BatchNormalization(x, *weights, epsilon=epsilon)
    return None


def _operands(rw: Rewriter, node: ir.Node, op_type: str) -> Iterator[tuple[ir.Node, ir.Value]]:
    """An operand that an operator makes for this node alone, and the other operand."""
    for place in (0, 1):
        value, other = node.inputs[place], node.inputs[1 - place]
        made = rw.producer(value, op_type)
        if made is not None and value is not None and other is not None and rw.only_use(value):
            yield made, other


def _variance(rw: Rewriter, deviation: ir.Value | None) -> tuple[ir.Value, float] | None:
    """The variance and the number that was added to it, of a deviation in any shape."""
    shaped = rw.producer(deviation, "Reshape", "Unsqueeze")
    root = rw.producer(shaped.inputs[0] if shaped is not None else deviation, "Sqrt")
    total = rw.producer(root.inputs[0], "Add") if root is not None else None
    if total is None:
        return None
    for place in (0, 1):
        epsilon, variance = rw.scalar(total.inputs[place]), total.inputs[1 - place]
        if epsilon is not None and variance is not None:
            shape = rw.shape(deviation)
            return (rw.reshape(variance, shape) if shape is not None else variance), float(epsilon)
    return None
