"""Group norm of channels that come last through InstanceNormalization.

before: g = Reshape(x, [n, ..., groups, width]); m = ReduceMean(g, axes); v = ReduceMean(Mul(g - m, g - m), axes)
        y = Mul(g - m, Reciprocal(Sqrt(Add(v, eps))))          over all axes but n and groups (or Div, as layer norms)
        y = Mul(x - Expand(m), Expand(Reciprocal(...)))        with the numbers of a group broadcast to its channels
        the same without Reshape, over all axes but n and the last one: instance norm
after:  y = Transpose(InstanceNormalization(Transpose(x), 1, 0))

before: Add(Mul(Transpose(Reshape(InstanceNormalization(...))), weight), bias)         with a number for each channel
after:  Transpose(Add(Mul(Reshape(InstanceNormalization(...)), weight), bias))

ONNX Runtime is slow at means over axes that are not adjacent: the form after takes 0.13 to 0.31 of the time, 1.2 for
small images of few channels. Its transposes cancel with those around a convolution (ONNX Runtime 1.31). The variance
may be ReduceMean(Mul(g, g)) - m * m. Declines for other element types than float32, other axes, a mean over one axis
before the last (it is quick), and where sizes but one of the batch are symbolic.
"""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir

from j2o_core import Rewriter, traits
from j2o_core.graph._infer import same_shape

from ..._plugin import plugin
from ._group_norm import instance_norm
from ._layer_norm import on_last_axes, parts_and_weight, square_of, square_root, unclamped


@plugin.rewrite("Mul", "Div", needs=("ReduceMean",))
def _group_norm_last(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for d, root, weight in parts_and_weight(rw, node):
        centred = rw.producer(d, "Sub")
        x = centred.inputs[0] if centred is not None else None
        if centred is None or x is None or x.dtype is not ir.DataType.FLOAT:
            continue
        groups = _Groups.of(rw, x, centred.inputs[1])
        epsilon = groups.epsilon(root, inverted=node.op_type == "Mul") if groups is not None else None
        if groups is None or epsilon is None:
            continue
        normal = groups.normalised(epsilon)
        return normal if weight is None else rw.op.Mul(normal, weight)
    return None


@plugin.rewrite("Mul", "Add", needs=("InstanceNormalization",))
def _weights_before_transpose(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for y, weight in rw.both_ways(node):
        transpose, shape = rw.producer(y, "Transpose"), rw.shape(y)
        if transpose is None or y is None or weight is None or shape is None or not rw.only_use(y):
            continue
        norm = rw.producer(transpose.inputs[0], "Reshape", "InstanceNormalization", "Mul", "Add")
        while norm is not None and norm.op_type != "InstanceNormalization":
            norm = rw.producer(norm.inputs[0], "Reshape", "InstanceNormalization", "Mul", "Add")
        perm = list(rw.attr(transpose, "perm"))
        channels = on_last_axes(rw, y, -1, weight)
        if norm is None or channels is None or not rw.same_shape(y, node.outputs[0]):
            continue
        weights = rw.reshape(channels, [shape[-1], *[1] * (len(shape) - 1 - perm[-1])])
        return rw.op.Transpose(rw.op(node.op_type, transpose.inputs[0], weights), perm=perm)
    return None


class _Groups:
    """An array in groups of its last axis, and the mean of each.

    Attributes:
        x: `[*outer, *inner, channels]`, or the array in groups itself.
        grouped: `[*outer, *inner, groups, width]`, or `[*outer, *inner, channels]` where each channel is a group.
        mean: over all axes of `grouped` but `outer` and `groups`.
    """

    def __init__(self, rw: Rewriter, x: ir.Value, grouped: ir.Value, mean: ir.Node):
        self._rw, self.x, self.grouped, self.mean = rw, x, grouped, mean
        sizes, axes = rw.shape(grouped) or (), self._axes(mean)
        self._is_wide = len(sizes) - 1 in axes
        *self._places, self._count, self._width = sizes if self._is_wide else (*sizes, 1)
        self._outer = axes[0] if axes else 0

    @classmethod
    def of(cls, rw: Rewriter, x: ir.Value, mean: ir.Value | None) -> _Groups | None:
        """The groups whose means are a value that broadcasts along x, if they are such groups."""
        value = mean
        while (node := rw.producer(value, *traits.RESHAPES, "Expand")) is not None:
            value = node.inputs[0]
        reduction = rw.producer(value, "ReduceMean")
        grouped = reduction.inputs[0] if reduction is not None else None
        if reduction is None or grouped is None or mean is None or len(rw.shape(grouped) or ()) < 3:
            return None
        groups = cls(rw, x, grouped, reduction)
        return groups if groups._are_last() and groups._number(mean) is value else None

    def _axes(self, reduction: ir.Node) -> list[int]:
        return self._rw.reduced_axes(reduction) or []

    def _are_last(self) -> bool:
        outer, rank = self._outer, len(self._places) + 2
        inner = [*range(outer, rank - 2)]
        # Means over one axis before the last are quick.
        if self._axes(self.mean) != [*inner, *[rank - 1] * self._is_wide] or len(inner) < (1 if self._is_wide else 2):
            return False
        if not all(isinstance(size, int) and size for size in (*self._places[outer:], self._count, self._width)):
            return False
        if sum(not isinstance(size, int) for size in self._places[:outer]) > 1:
            return False
        if self.x is self.grouped:
            return True
        reshape = self._rw.producer(self.grouped, "Reshape")
        return (
            reshape is not None
            and reshape.inputs[0] is self.x
            and same_shape(self._rw.shape(self.x), tuple(self._channels()))
        )

    def _channels(self) -> list[Any]:
        """The sizes with one axis for all channels."""
        return [*self._places, self._count * self._width]

    def _number(self, value: ir.Value) -> ir.Value | None:
        """One number for each group, in order, of a value that has it for each group or each channel of x."""
        last = [self._count, 1] if self.x is self.grouped and self._is_wide else [self._count * self._width]
        wanted = (*self._places[: self._outer], *[1] * (len(self._places) - self._outer), *last)
        return self._repeated(value) if same_shape(self._rw.shape(value), wanted) else None

    def _repeated(self, value: ir.Value | None) -> ir.Value | None:
        """The operand of a broadcast to each channel, or of a Reshape that only moves axes of size 1."""
        while (node := self._rw.producer(value, *traits.RESHAPES, "Expand")) is not None:
            assert value is not None
            before, after = self._rw.shape(node.inputs[0]) or (), self._rw.shape(value) or ()
            if node.op_type == "Expand" and not same_shape(after, (*before[:-1], self._width)):
                return None  # the channels of a group have to lie side by side
            value = node.inputs[0]
        return value

    def epsilon(self, scale: ir.Value, *, inverted: bool) -> float | None:
        """The epsilon of a root of the variance of each group, or of its inverse."""
        rw = self._rw
        if self._number(scale) is None:
            return None
        root = square_root(rw, self._repeated(scale), inverted=inverted)
        for variance, eps in rw.both_ways(rw.producer(self._repeated(root), "Add")):
            epsilon = rw.scalar(eps)
            if epsilon is not None and epsilon >= 0 and self._is_variance(variance):
                return epsilon
        return None

    def _is_variance(self, value: ir.Value | None) -> bool:
        rw = self._rw
        node = rw.producer(self._repeated(unclamped(rw, self._repeated(value))), "ReduceMean", "Sub")
        if node is None:
            return False
        if node.op_type == "Sub":
            mean_square, square = node.inputs
            squares = self._mean_of(self._repeated(mean_square))
            mean = self._mean_of(self._repeated(square_of(rw, self._repeated(square))))
            same = mean_square is not None and square is not None and rw.same_shape(mean_square, square)
            return same and mean is self.grouped and square_of(rw, squares) is self.grouped
        centred = rw.producer(square_of(rw, self._mean_of(node.outputs[0])), "Sub")
        if centred is None or centred.inputs[0] is not self.grouped or centred.inputs[1] is None:
            return False
        inner = _Groups(rw, self.grouped, self.grouped, self.mean)
        return self._mean_of(inner._number(centred.inputs[1])) is self.grouped

    def _mean_of(self, value: ir.Value | None) -> ir.Value | None:
        """The operand of a mean over the axes of `mean`, None for others."""
        mean = self._rw.producer(value, "ReduceMean")
        return mean.inputs[0] if mean is not None and self._axes(mean) == self._axes(self.mean) else None

    def normalised(self, epsilon: float) -> ir.Value:
        """The array with a mean of 0 and a variance of 1 in each group."""
        rw, rank, outer = self._rw, len(self._places) + 1, self._outer
        order = [*range(outer), rank - 1, *range(outer, rank - 1)]
        first = rw.op.Transpose(rw.reshape(self.x, self._channels()), perm=order)
        if outer == 1 and self._width == 1:
            normal = instance_norm(rw, first, self._count, epsilon)
        else:
            inner = self._width * math.prod(self._places[outer:])
            flat = rw.reshape(first, [math.prod(self._places[:outer]), self._count, inner])
            flat = instance_norm(rw, flat, self._count, epsilon)
            normal = rw.reshape(flat, [self._channels()[axis] for axis in order])
        last = rw.op.Transpose(normal, perm=[order.index(axis) for axis in range(rank)])
        return rw.reshape(last, rw.shape(self.x))
