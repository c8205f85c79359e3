"""Maxima and minima: of floats, where the kernels lose NaN; of int64, where they compare words by halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph._ranges import value_range
from ...target import INTEGERS
from .._composer import Composer, dimensions
from .._emitter import read_attribute, read_constant

T = ir.DataType

_NAN_TYPES = (T.FLOAT16, T.FLOAT, T.DOUBLE)

# int64. The comparison operators are right, and so are ArgMax and ArgMin.


def _fits_int32(value: ir.Value) -> bool:
    return value_range(value, read_constant).within(-(2**31), 2**31 - 1)


def extreme(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Max and Min as Where(a > b, a, b), one operand after the other."""
    operands = [value for value in node.inputs if value is not None]
    if operands[0].dtype is not T.INT64 or all(map(_fits_int32, operands)):
        return None
    result = operands[0]
    for other in operands[1:]:
        result = _larger(c, result, other, node.op_type == "Min", node.outputs[0].shape)
    return [c.op("Identity", result) if result is operands[0] else result]


def _larger(c: Composer, a: ir.Value, b: ir.Value, smaller: bool, shape: ir.Shape | None) -> ir.Value:
    condition = c.op("Less" if smaller else "Greater", a, b, dtype=T.BOOL, shape=shape)
    return c.op("Where", condition, a, b, dtype=a.dtype, shape=shape)


def clip(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As the smaller of the larger of x and the lower bound, and the upper bound."""
    x, *bounds = node.inputs
    if x is None or x.dtype is not T.INT64:
        return None
    if all(_fits_int32(value) for value in node.inputs if value is not None):
        return None
    result = x
    for bound, smaller in zip(bounds, (False, True), strict=False):
        if bound is not None:
            result = _larger(c, result, bound, smaller, x.shape)
    return [c.op("Identity", x) if result is x else result]


def relu(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As the larger of x and 0."""
    x = node.inputs[0]
    if x is None or x.dtype is not T.INT64 or _fits_int32(x):
        return None
    return [_larger(c, x, c.const(0, x), False, x.shape)]


def sign(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As (x > 0) - (x < 0)."""
    x = node.inputs[0]
    if x is None or x.dtype is not T.INT64 or _fits_int32(x):
        return None
    above, below = (c.op(op_type, x, c.const(0, x), dtype=T.BOOL) for op_type in ("Greater", "Less"))
    return [c.op("Sub", c.cast(above, T.INT64), c.cast(below, T.INT64))]


def reduce_int64(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """The elements at ArgMax, one axis after the other."""
    x = node.inputs[0]
    if x is None or x.dtype is not T.INT64 or _fits_int32(x):
        return None
    sizes = dimensions(x)
    axes = c.axes(len(sizes))
    if 0 in sizes:
        return None
    result = x
    for axis in axes:
        sizes[axis] = 1
        index = c.op("Arg" + node.op_type[-3:], result, dtype=T.INT64, shape=sizes, axis=axis, keepdims=1, trusted=True)
        result = c.op("GatherElements", result, index, shape=sizes, axis=axis)
    if not axes:
        return [c.op("Identity", x)]
    if c.attribute("keepdims", 1):
        return [result]
    return [c.op("Squeeze", result, c.ints(axes), shape=node.outputs[0].shape)]


# Floats


def reduce_extreme(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As Where(ReduceMin(x == x), ReduceMax(x), NaN): x == x is False for NaN only."""
    x = node.inputs[0]
    if x is None or x.dtype not in _NAN_TYPES or (x.shape is not None and 0 in x.shape) or _has_no_nan(x):
        return None
    shape, axes = node.outputs[0].shape, node.inputs[1:]
    numbers = c.op("Equal", x, x, dtype=T.BOOL)
    numbers = c.op("ReduceMin", numbers, *axes, shape=shape, **_attributes(node))
    kernel = c.op(node.op_type, x, *axes, shape=shape, trusted=True, **_attributes(node))
    return [c.op("Where", numbers, kernel, c.const(np.nan, x), dtype=x.dtype, trusted=True)]


def log_softmax(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Of float64, NaN where Softmax is: a row with NaN or plus infinity."""
    x = node.inputs[0]
    if x is None or x.dtype is not T.DOUBLE:
        return None
    weights = c.op("Softmax", x, shape=x.shape, **_attributes(node))
    numbers = c.op("Equal", weights, weights, dtype=T.BOOL, shape=x.shape)
    kernel = c.op(node.op_type, x, shape=x.shape, trusted=True, **_attributes(node))
    return [c.op("Where", numbers, kernel, c.const(np.nan, x), dtype=x.dtype, trusted=True)]


def max_pool(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As Where(some NaN, NaN, MaxPool(x)); of float32 also Where(all minus infinity, that, MaxPool(x)).

    The kernel starts from the lowest number, which only its float64 form and the cast back to float16 make right.
    Over one or two axes both are a quotient, see `_quotient_pool`.
    """
    x = node.inputs[0]
    if x is None or x.dtype not in _NAN_TYPES or len(node.outputs) > 1 or _has_no_nan(x):
        return None
    if node.op_type == "GlobalMaxPool" and x.dtype is T.DOUBLE:
        return None  # has no kernel at all
    shape, layout = node.outputs[0].shape, _attributes(node)
    kernel = c.op(node.op_type, x, shape=shape, trusted=True, **layout)
    divisor = _quotient_pool(c, node, x)
    if divisor is not None:
        return [c.op("Div", kernel, divisor, shape=shape)]
    kind = c.cast(c.op("IsNaN", x, dtype=T.BOOL), x.dtype)
    starts_lowest = x.dtype is T.FLOAT
    if starts_lowest:
        # NaN counts 1, minus infinity -1, a number 0: the largest in a window says what the result is.
        lowest = c.op("Equal", x, c.const(-np.inf, x), dtype=T.BOOL)
        kind = c.op("Sub", kind, c.cast(lowest, x.dtype), trusted=True)
    kind = c.op(node.op_type, kind, shape=shape, trusted=True, **layout)
    if starts_lowest:
        nothing = c.op("Less", kind, c.const(0, x), dtype=T.BOOL)
        kernel = c.op("Where", nothing, c.const(-np.inf, x), kernel, dtype=x.dtype)
        kind = c.op("Max", kind, c.const(0, x), trusted=True)
    return [c.op("Where", c.cast(kind, T.BOOL), c.const(np.nan, x), kernel, dtype=x.dtype)]


def _quotient_pool(c: Composer, node: ir.Node, x: ir.Value) -> ir.Value | None:
    """The divisor of the kernel's result: 0 where all are minus infinity, NaN where one is, else 1.

    The kernel has the lowest number for minus infinity. HardSigmoid makes 1 of a number and 0 of minus infinity; their
    mean, rounded up, is 1 or 0. That is four nodes and 0.9 of the time of the general form, but not over three axes,
    where AveragePool takes long.
    """
    layout, rank = _attributes(node), None if x.shape is None else len(x.shape)
    layout.pop("storage_order", None)
    dilations = layout.get("dilations") or [1]
    if c.opset < 19 and max(dilations) == 1:
        layout.pop("dilations", None)
    if x.dtype is T.DOUBLE or rank not in (3, 4) or layout.get("ceil_mode") or (c.opset < 19 and "dilations" in layout):
        return None
    is_number = c.op("HardSigmoid", x, alpha=2.0**-126, beta=5.0)
    if node.op_type == "MaxPool":
        layout["count_include_pad"] = 1
    mean = c.op(node.op_type.replace("Max", "Average"), is_number, shape=node.outputs[0].shape, **layout)
    return c.op("Ceil", mean)


def scatter(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As Where(Scatter(data is NaN, updates is NaN), NaN, Scatter(data, updates)), for reductions max and min."""
    data, indices, updates = node.inputs
    if data is None or updates is None or data.dtype not in _NAN_TYPES:
        return None
    if c.attribute("reduction", "none") not in ("max", "min"):
        return None
    layout = _attributes(node)
    if data.dtype is T.FLOAT16:
        # One of the two kernels has no float16 for this.
        wide = c.op(node.op_type, c.cast(data, T.FLOAT), indices, c.cast(updates, T.FLOAT), **layout)
        return [c.cast(wide, data.dtype)]
    marks = [c.cast(c.op("IsNaN", value, dtype=T.BOOL), T.UINT8) for value in (data, updates)]
    seen = c.op(node.op_type, marks[0], indices, marks[1], **(layout | {"reduction": "max"}))
    kernel = c.op(node.op_type, data, indices, updates, trusted=True, **layout)
    return [c.op("Where", c.cast(seen, T.BOOL), c.const(np.nan, data), kernel, dtype=data.dtype)]


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: read_attribute(node, name, None) for name in node.attributes}


def _has_no_nan(x: ir.Value) -> bool:
    """Whether x is known to be made of numbers: a constant, or cast from integers."""
    array = read_constant(x)
    if array is not None:
        return not bool(np.isnan(array).any())
    producer = x.producer()
    if producer is None or producer.op_type != "Cast" or producer.inputs[0] is None:
        return False
    return producer.inputs[0].dtype in (T.BOOL, *INTEGERS)
