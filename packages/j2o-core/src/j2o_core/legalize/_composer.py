"""Writes a node with other nodes: what compositions and stand-ins for defective kernels build with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._nonfinite import only_finite
from ..target import Target, cast_attributes
from ._emitter import Emitter, attributes_of, read_attribute, read_constant


class Declined(Exception):
    """Raised by what would write a node with others, with the reason why it cannot. The node is listed with it."""


class Composer:
    """Adds nodes before the one that they stand for; each is legalized in turn, so any element type may be used."""

    def __init__(
        self,
        emitter: Emitter,
        anchor: ir.Node,
        target: Target,
        legalize: Callable[[ir.Node], Sequence[ir.Value]],
    ):
        self.opset = target.opset
        self.exact_nonfinite = target.exact_nonfinite
        self._emitter = emitter
        self._anchor = anchor
        self._legalize = legalize

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        shape: ir.Shape | Sequence[Any] | None = None,
        dtype: ir.DataType | None = None,
        trusted: bool = False,
        **attributes: Any,
    ) -> ir.Value:
        """Adds a node with one result.

        Args:
            op_type: The operator.
            *inputs: Its operands.
            shape: The shape of the result; the first operand's by default.
            dtype: The element type of the result; the first operand's by default.
            trusted: The node is known to run, and to be right: it is not legalized.
            **attributes: Its attributes; None leaves one out.
        """
        first = next((value for value in inputs if value is not None), None)
        if first is not None:
            dtype = first.dtype if dtype is None else dtype
            shape = first.shape if shape is None else shape
        stamped = shape if isinstance(shape, ir.Shape) or shape is None else ir.Shape(shape)
        name = f"{self._anchor.name or self._anchor.op_type}/{op_type}"
        node = self._emitter.node(self._anchor, op_type, inputs, attributes_of(attributes), [(dtype, stamped)], name)
        return node.outputs[0] if trusted else self._legalize(node)[0]

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in another element type, converted as arithmetic rounds: without saturation."""
        if value.dtype is dtype:
            return value
        return self.op("Cast", value, dtype=dtype, to=int(dtype), **cast_attributes(dtype))

    def const(self, value: Any, like: ir.Value | None = None) -> ir.Value:
        """A constant, in the element type of a value if one is given."""
        dtype = None if like is None or like.dtype is None else like.dtype.numpy()
        return self._emitter.constant(self._anchor, np.asarray(value, dtype))

    def ints(self, values: Sequence[int] | np.ndarray[Any, Any]) -> ir.Value:
        """A list of axes, sizes or positions."""
        return self._emitter.constant(self._anchor, np.asarray(values, np.int64))

    def apart(self, value: ir.Value) -> ir.Value:
        """A value behind a Reshape to its own shape, across which the runtime merges nothing and rounds float16."""
        # 0 stands for the size that is there. (Max(x, x) would do as well, and takes ten times as long as a cast.)
        if value.shape is not None:
            same = self.ints([0] * len(value.shape))
        else:
            same = self.op("Shape", value, dtype=ir.DataType.INT64, shape=[None])
        return self.op("Reshape", value, same, trusted=True)

    # The node that is being written

    def only_finite(self, difference: str) -> None:
        """Leaves the node as it is, with a note of how it differs from JAX for NaN or infinities."""
        only_finite(self._anchor.outputs[0], difference)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node, or the default."""
        return read_attribute(self._anchor, name, default)

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes of a reduction, which are its second input: all of them if left out (or empty without `noop`)."""
        node = self._anchor
        axes: Any = ()
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            axes = read_constant(node.inputs[1])
            if axes is None:
                raise Declined("the axes have to be constant")
        if len(axes) == 0:
            return () if self.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
        return tuple(sorted(int(axis) % rank for axis in axes))


def dimensions(value: ir.Value) -> list[Any]:
    """The dimensions of a value: ints where they are known, else symbols."""
    if value.shape is None:
        raise Declined("the shape of an operand is not known")
    return list(value.shape)
