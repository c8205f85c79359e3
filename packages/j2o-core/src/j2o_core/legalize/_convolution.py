"""Convolution and average pooling out of slices: one slice for each position in the window.

Position k of a window sees the elements k*dilation, k*dilation + stride, ... of the padded input, up to as many before
the end as the window still needs. Written with ends counted from the back, no size has to be known.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..rewrite import Rewriter
from ._declined import Declined, sizes_of

_END = np.iinfo(np.int64).max


class _Window:
    """The attributes that convolution and pooling share."""

    def __init__(self, rw: Rewriter, node: ir.Node, kernel: Sequence[int]):
        spatial = len(kernel)
        self.kernel = list(kernel)
        self.strides: list[int] = list(rw.attr(node, "strides", [1] * spatial))
        self.dilations: list[int] = list(rw.attr(node, "dilations", [1] * spatial))
        self.pads: list[int] = list(rw.attr(node, "pads", [0] * 2 * spatial))
        if rw.attr(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise Declined("auto_pad has to be given as pads")
        if rw.attr(node, "ceil_mode", 0):
            raise Declined("ceil_mode has to be 0")

    def pad(self, rw: Rewriter, x: ir.Value, first_axis: int) -> Any:
        """Zeros around the spatial axes, which start at `first_axis`."""
        if not any(self.pads):
            return x
        pads = np.zeros((2, len(sizes_of(x))), np.int64)
        pads[:, first_axis : first_axis + len(self.kernel)] = np.reshape(self.pads, (2, -1))
        return rw.op.Pad(x, rw.const(pads.ravel()), rw.const(0, x))

    def slices(self, rw: Rewriter, padded: ir.Value, first_axis: int) -> list[ir.Value]:
        """The slices of the operand for each position in the window, in row-major order of positions."""
        spatial = range(len(self.kernel))
        shape = list(sizes_of(padded))
        for i in spatial:
            reach = (self.kernel[i] - 1) * self.dilations[i]
            shape[first_axis + i] = (shape[first_axis + i] - reach - 1) // self.strides[i] + 1
        axes = rw.const([first_axis + i for i in spatial], np.int64)
        steps = rw.const(self.strides, np.int64)
        result = []
        for position in itertools.product(*map(range, self.kernel)):
            starts = [position[i] * self.dilations[i] for i in spatial]
            left = [(self.kernel[i] - 1 - position[i]) * self.dilations[i] for i in spatial]
            ends = [-n if n else _END for n in left]
            seen = rw.op.Slice(padded, *(rw.const(places, np.int64) for places in (starts, ends)), axes, steps)
            result.append(rw.shaped(seen, shape))
        return result


def convolution(rw: Rewriter, node: ir.Node) -> Any:
    """Conv as one matrix product: channels last, the positions of the window side by side with the channels."""
    op, (x, w, *rest) = rw.op, node.inputs
    weight_sizes = sizes_of(w)
    if not all(isinstance(size, int) for size in weight_sizes):
        raise Declined("the shape of the weights has to be known")
    out_channels, in_channels, *kernel = weight_sizes
    window = _Window(rw, node, kernel)
    groups = rw.attr(node, "group", 1)
    rank = len(sizes_of(x))
    columns = math.prod(kernel) * in_channels

    last = op.Transpose(x, perm=[0, *range(2, rank), 1])
    slices = window.slices(rw, window.pad(rw, last, 1), 1)
    outer = sizes_of(slices[0])[:-1]
    if groups > 1:
        slices = [rw.reshape(s, [*outer, groups, 1, in_channels]) for s in slices]
    seen = op.Concat(*slices, axis=-1)

    # [O, C, k...] to [G, k... * C, O / G], without G if there is one group.
    per_group = out_channels // groups
    grouped = op.Reshape(w, op.const([groups, per_group, in_channels, *kernel], np.int64))
    turned = op.Transpose(grouped, perm=[0, *range(3, rank + 1), 2, 1])
    matrix = op.Reshape(turned, op.const([groups] * (groups > 1) + [columns, per_group], np.int64))

    product = op.MatMul(seen, matrix)
    if groups > 1:
        product = rw.reshape(product, [*outer, out_channels])
    if rest and rest[0] is not None:
        product = op.Add(product, rest[0])
    return op.Transpose(product, perm=[0, rank - 1, *range(1, rank - 1)])


def average_pool(rw: Rewriter, node: ir.Node) -> Any:
    """The sum of what the positions see, divided by how many of them lie on the input."""
    op, x = rw.op, node.inputs[0]
    assert x is not None
    window = _Window(rw, node, rw.attr(node, "kernel_shape", []))
    total = functools.reduce(op.Add, window.slices(rw, window.pad(rw, x, 2), 2))
    if rw.attr(node, "count_include_pad", 0) or not any(window.pads):
        return op.Div(total, op.const(math.prod(window.kernel), x))
    ones = rw.expand(op.const(1, x), [1, 1, *sizes_of(x)[2:]])
    counts = functools.reduce(op.Add, window.slices(rw, window.pad(rw, ones, 2), 2))
    return op.Div(total, counts)
