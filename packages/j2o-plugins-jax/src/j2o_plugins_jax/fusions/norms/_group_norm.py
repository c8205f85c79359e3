"""Group norm and instance norm through InstanceNormalization.

before: Reshape(LayerNormalization(Reshape(x, [n, groups, ...]), 1), [n, channels, ...])
after:  Reshape(InstanceNormalization(Reshape(x, [n, groups, -1]), 1, 0), [n, channels, ...])
        InstanceNormalization(x, 1, 0)                                          with a group for each channel

before: Add(Mul(LayerNormalization(x, 1, axis=2), weight), bias)                with a number for each channel
        Add(Mul(InstanceNormalization(x, 1, 0), weight), bias)
after:  InstanceNormalization(x, weight, bias)

The normalisation itself has been made a LayerNormalization before. That takes as many weights as a group has numbers,
all of them 1; as InstanceNormalization, group norm takes 0.77 to 0.96 of the time, instance norm 0.53, and is as exact
as the form that was written (ONNX Runtime 1.31). GroupNormalization-21 is not used: the runtime has no kernel, what it
makes of it takes 1.4 to 1.9 times as long, and its variance is the difference of two sums, which is NaN for a mean of
1000 and a deviation of 1.

Declines where the groups are parts of the last axis, which are layer norms, and for two batch axes of symbolic size.
Sizes of x behind the channels are static.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter
from j2o_core.graph._infer import same_shape

from ..._plugin import plugin
from ..weights._repeated_constants import shortest


@plugin.rewrite("Reshape")
def _group_norm(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    norm = _plain_layer_norm(rw, node.inputs[0])
    grouped = rw.producer(norm.inputs[0], "Reshape") if norm is not None else None
    x = grouped.inputs[0] if grouped is not None else None
    if norm is None or grouped is None or x is None or not rw.same_shape(x, node.outputs[0]):
        return None
    shape, sizes = rw.shape(x) or (), rw.shape(grouped.outputs[0]) or ()
    *outer, groups = sizes[: rw.attr(norm, "axis", -1)]
    if len(shape) < len(outer) + 2 or not same_shape(shape[: len(outer)], tuple(outer)):
        return None
    channels = shape[len(outer)]
    if sum(not isinstance(size, int) for size in outer) > 1:
        return None  # the sizes would have to be computed to be put back
    if not isinstance(groups, int) or groups == 0:
        return None
    epsilon = rw.attr(norm, "epsilon")
    if len(outer) == 1 and groups == channels:
        return instance_norm(rw, x, channels, epsilon)
    flat = rw.reshape(x, [math.prod(outer), groups, math.prod(sizes[len(outer) + 1 :])])
    return rw.reshape(instance_norm(rw, flat, groups, epsilon), shape)


def _plain_layer_norm(rw: Rewriter, value: ir.Value | None) -> ir.Node | None:
    """The LayerNormalization without weights that makes a value for one reader, with axes in front of it."""
    norm = rw.producer(value, "LayerNormalization")
    if norm is None or value is None or len(norm.inputs) > 2 or rw.scalar(norm.inputs[1]) != 1:
        return None
    return norm if rw.only_use(value) and rw.attr(norm, "axis", -1) % len(rw.shape(value) or ()) else None


def instance_norm(rw: Rewriter, x: ir.Value, channels: int, epsilon: float) -> ir.Value:
    """`[n, channels, ...]` with a mean of 0 and a variance of 1 in each channel."""
    one, zero = rw.const(np.ones(channels), x), rw.const(np.zeros(channels), x)
    return rw.op.InstanceNormalization(x, one, zero, epsilon=epsilon)


@plugin.rewrite("Mul", "Add", needs=("InstanceNormalization", "LayerNormalization"))
def _affine(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for y, other in rw.both_ways(node):
        found = _normalised_channels(rw, y)
        if found is None or y is None or other is None or not rw.same_shape(y, node.outputs[0]):
            continue
        x, weight, bias, epsilon = found
        if rw.producer(y, "LayerNormalization") is not None and rw.scalar(other) is not None:
            continue  # a layer norm before training: the same number for each channel and each place
        channels = _weights_of_channels(rw, other, x)
        if channels is None or rw.scalar(bias) != 0 or (node.op_type == "Mul" and rw.scalar(weight) != 1):
            continue
        terms = (channels, bias) if node.op_type == "Mul" else (weight, channels)
        return rw.op.InstanceNormalization(x, *terms, epsilon=epsilon)
    return None


def _normalised_channels(rw: Rewriter, y: ir.Value | None) -> tuple[ir.Value, Any, Any, float] | None:
    """(x, weight, bias, epsilon) of the normalisation of each channel of [n, channels, ...] that makes y."""
    norm, channels = rw.producer(y, "InstanceNormalization"), (rw.shape(y) or (None, None))[1:2]
    if norm is not None and y is not None and norm.inputs[0] is not None and rw.only_use(y):
        return norm.inputs[0], norm.inputs[1], norm.inputs[2], rw.attr(norm, "epsilon")
    norm = _plain_layer_norm(rw, y)
    if norm is None or norm.inputs[0] is None or not isinstance(channels[0], int):
        return None
    if rw.attr(norm, "axis", -1) % len(rw.shape(y) or ()) != 2:
        return None
    x = norm.inputs[0]
    return x, rw.const(np.ones(channels), x), rw.const(np.zeros(channels), x), rw.attr(norm, "epsilon")


def _weights_of_channels(rw: Rewriter, value: ir.Value, x: ir.Value) -> ir.Value | None:
    """A value that varies along axis 1 of x alone, as a vector."""
    sizes, array = rw.shape(x) or (), rw.constant(value)
    if array is None:
        return vector_of_channels(rw, value, x)
    if not np.isfinite(array).all():
        return None  # the kernel multiplies before it takes the mean off
    first = shortest(array)
    if first.shape not in ((), (sizes[1], *[1] * (len(sizes) - 2))):
        return None
    return rw.op.constants.get(np.resize(first, (sizes[1],)), rw.op.constants.hint(value))


def vector_of_channels(rw: Rewriter, value: ir.Value | None, x: ir.Value) -> ir.Value | None:
    """A value with a number for each index of axis 1 of x, in the shape of x, as a vector."""
    sizes, shape = rw.shape(x) or (), rw.shape(value)
    wanted = (1, *sizes[1:2], *[1] * (len(sizes) - 2))
    if value is None or shape is None or (*[1] * (len(sizes) - len(shape)), *shape) != wanted:
        return None
    return rw.reshape(value, [sizes[1]])
