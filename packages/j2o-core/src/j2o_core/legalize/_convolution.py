"""Convolution and average pooling out of slices: one slice for each position in the window.

Position k of a window sees the elements k*dilation, k*dilation + stride, ... of the padded input, up to as many before
the end as the window still needs. Written with ends counted from the back, no size has to be known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ._composer import Composer, Declined, dimensions

_END = np.iinfo(np.int64).max


class _Window:
    """The attributes that convolution and pooling share."""

    def __init__(self, c: Composer, kernel: Sequence[int]):
        spatial = len(kernel)
        self.kernel = list(kernel)
        self.strides: list[int] = list(c.attribute("strides", [1] * spatial))
        self.dilations: list[int] = list(c.attribute("dilations", [1] * spatial))
        self.pads: list[int] = list(c.attribute("pads", [0] * 2 * spatial))
        if c.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise Declined("auto_pad has to be written out as pads")
        if c.attribute("ceil_mode", 0):
            raise Declined("ceil_mode has to be 0")

    def pad(self, c: Composer, x: ir.Value, first_axis: int) -> ir.Value:
        """Zeros around the spatial axes, which start at `first_axis`."""
        if not any(self.pads):
            return x
        sizes = dimensions(x)
        rank, spatial = len(sizes), len(self.kernel)
        pads = np.zeros((2, rank), np.int64)
        pads[:, first_axis : first_axis + spatial] = np.reshape(self.pads, (2, spatial))
        added = pads.sum(0).tolist()
        shape = [
            size if more == 0 else size + more if isinstance(size, int) else None
            for size, more in zip(sizes, added, strict=True)
        ]
        return c.op("Pad", x, c.ints(pads.ravel()), c.const(0, x), shape=shape)

    def slices(self, c: Composer, padded: ir.Value, first_axis: int) -> list[ir.Value]:
        """The slices of the operand for each position in the window, in row-major order of positions."""
        sizes = dimensions(padded)
        spatial = range(len(self.kernel))
        shape = list(sizes)
        for i in spatial:
            size = sizes[first_axis + i]
            reach = (self.kernel[i] - 1) * self.dilations[i]
            shape[first_axis + i] = -((reach - size) // self.strides[i]) if isinstance(size, int) else None
        axes = c.ints([first_axis + i for i in spatial])
        steps = c.ints(self.strides)
        result = []
        for position in itertools.product(*map(range, self.kernel)):
            starts = [position[i] * self.dilations[i] for i in spatial]
            left = [(self.kernel[i] - 1 - position[i]) * self.dilations[i] for i in spatial]
            ends = [-n if n else _END for n in left]
            result.append(c.op("Slice", padded, c.ints(starts), c.ints(ends), axes, steps, shape=shape))
        return result


def _sum(c: Composer, values: Sequence[ir.Value]) -> ir.Value:
    total = values[0]
    for value in values[1:]:
        total = c.op("Add", total, value)
    return total


def convolution(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    """Conv as one matrix product: channels last, the positions of the window side by side with the channels."""
    x, w, *rest = node.inputs
    assert x is not None
    assert w is not None
    weight_sizes = dimensions(w)
    if not all(isinstance(size, int) for size in weight_sizes):
        raise Declined("the shape of the weights has to be known")
    out_channels, in_channels, *kernel = weight_sizes
    window = _Window(c, kernel)
    groups = c.attribute("group", 1)
    rank = len(weight_sizes)
    spatial = list(range(2, rank))
    columns = math.prod(kernel) * in_channels

    last = c.op("Transpose", x, perm=[0, *spatial, 1], shape=[dimensions(x)[i] for i in (0, *spatial, 1)])
    slices = window.slices(c, window.pad(c, last, 1), 1)
    outer = dimensions(slices[0])[:-1]
    if groups > 1:
        # [..., groups, 1, channels]: a 0 in Reshape keeps the size.
        split = c.ints([0] * (rank - 1) + [groups, 1, in_channels])
        slices = [c.op("Reshape", s, split, shape=[*outer, groups, 1, in_channels]) for s in slices]
        outer = [*outer, groups, 1]
    seen = slices[0]
    if len(slices) > 1:
        seen = c.op("Concat", *slices, axis=-1, shape=[*outer, columns])

    # [O, C, k...] to [G, k... * C, O / G], without G if there is one group.
    per_group = out_channels // groups
    grouped = c.op(
        "Reshape", w, c.ints([groups, per_group, in_channels, *kernel]), shape=[groups, per_group, in_channels, *kernel]
    )
    order = [0, *range(3, rank + 1), 2, 1]
    turned = c.op("Transpose", grouped, perm=order, shape=[groups, *kernel, in_channels, per_group])
    matrix_shape = [groups, columns, per_group] if groups > 1 else [columns, per_group]
    matrix = c.op("Reshape", turned, c.ints(matrix_shape), shape=matrix_shape)

    product = c.op("MatMul", seen, matrix, shape=[*outer, per_group])
    if groups > 1:
        outer = outer[:-2]
        product = c.op("Reshape", product, c.ints([0] * (rank - 1) + [out_channels]), shape=[*outer, out_channels])
    if rest and rest[0] is not None:
        product = c.op("Add", product, rest[0])
    return [c.op("Transpose", product, perm=[0, rank - 1, *range(1, rank - 1)], shape=node.outputs[0].shape)]


def average_pool(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    """The sum of what the positions see, divided by how many of them lie on the input."""
    x = node.inputs[0]
    assert x is not None
    window = _Window(c, c.attribute("kernel_shape", []))
    total = _sum(c, window.slices(c, window.pad(c, x, 2), 2))
    if c.attribute("count_include_pad", 0) or not any(window.pads):
        return [c.op("Div", total, c.const(math.prod(window.kernel), x), shape=node.outputs[0].shape)]
    rank = len(dimensions(x))
    inner = [1, 1, *dimensions(x)[2:]]
    size = c.op("Shape", x, dtype=ir.DataType.INT64, shape=[rank - 2], start=2)
    full = c.op("Concat", c.ints([1, 1]), size, shape=[rank], axis=0)
    ones = c.op("Expand", c.const(1, x), full, shape=inner)
    counts = _sum(c, window.slices(c, window.pad(c, ones, 2), 2))
    return [c.op("Div", total, counts, shape=node.outputs[0].shape)]
