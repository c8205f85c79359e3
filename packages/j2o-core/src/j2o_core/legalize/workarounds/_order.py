"""Maxima and minima: of floats, where the kernels lose NaN; of int64, where they compare words by halves."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph._sizes import may_be_zero
from ...graph._values import is_empty, shape_of
from ...rewrite import Rewriter
from .._declined import reduced_axes, sizes_of
from ._empty import unless_empty

T = ir.DataType
_MANY = 4096

# int64. The comparison operators are right, and so are ArgMax and ArgMin.


def _is_wide(rw: Rewriter, *values: ir.Value | None) -> bool:
    """Whether a number of int64 may need more than 32 bits."""
    known = [value for value in values if value is not None]
    return known[0].dtype is T.INT64 and not all(rw.range(v).within(-(2**31), 2**31 - 1) for v in known)


def _larger(rw: Rewriter, a: ir.Value, b: ir.Value) -> Any:
    return rw.op.Where(rw.op.Greater(a, b), a, b)


def _smaller(rw: Rewriter, a: ir.Value, b: ir.Value) -> Any:
    return rw.op.Where(rw.op.Less(a, b), a, b)


def extreme(rw: Rewriter, node: ir.Node) -> Any:
    """Max and Min as Where(a > b, a, b), one operand after the other."""
    if not _is_wide(rw, *node.inputs):
        return None
    choose = _smaller if node.op_type == "Min" else _larger
    return functools.reduce(functools.partial(choose, rw), node.inputs)


def clip(rw: Rewriter, node: ir.Node) -> Any:
    """As the smaller of the larger of x and the lower bound, and the upper bound."""
    if not _is_wide(rw, *node.inputs):
        return None
    result, *bounds = node.inputs
    for bound, choose in zip(bounds, (_larger, _smaller), strict=False):
        if bound is not None:
            result = choose(rw, result, bound)  # type: ignore[arg-type]
    return result


def relu(rw: Rewriter, node: ir.Node) -> Any:
    """As the larger of x and 0."""
    x = node.inputs[0]
    return _larger(rw, x, rw.const(0, x)) if x is not None and _is_wide(rw, x) else None


def sign(rw: Rewriter, node: ir.Node) -> Any:
    """As (x > 0) - (x < 0)."""
    op, x = rw.op, node.inputs[0]
    if not _is_wide(rw, x):
        return None
    zero = op.const(0, np.int64)
    return op.Sub(op.cast(op.Greater(x, zero), T.INT64), op.cast(op.Less(x, zero), T.INT64))


def reduce_int64(rw: Rewriter, node: ir.Node) -> Any:
    """The elements at ArgMax, one axis after the other; of nothing, the kernel is right."""
    x = node.inputs[0]
    if not _is_wide(rw, x) or is_empty(x):
        return None
    axes, sizes = reduced_axes(rw, node), sizes_of(x)

    def elements(rw: Rewriter) -> Any:
        op, result = rw.op, x
        for axis in axes:
            index = op.plain("Arg" + node.op_type[-3:], result, axis=axis, keepdims=1)
            result = op.GatherElements(result, index, axis=axis)
        return result if rw.attr(node, "keepdims", 1) or not axes else op.Squeeze(result, op.const(axes, np.int64))

    maybe = [sizes[axis] for axis in axes if may_be_zero(sizes[axis])]
    if not maybe:
        return elements(rw)
    return unless_empty(rw, maybe, elements, lambda rw: rw.op.plain(node.op_type, *node.inputs, **rw.attrs(node)))


# Floats


def reduce_extreme(rw: Rewriter, node: ir.Node) -> Any:
    """As Where(ReduceMin(x == x), ReduceMax(x), NaN): x == x is False for NaN only.

    Of few numbers as Where(ReduceMax(IsNaN(x)), NaN, ReduceMax(x)): Where keeps a -0 that is its last operand. Of many,
    the maximum of booleans takes longer than their minimum.
    """
    op, (x, *axes) = rw.op, node.inputs
    if x is None or is_empty(x) or not rw.range(x).nan:
        return None
    kernel = op.plain(node.op_type, x, *axes, **rw.attrs(node))
    if _is_small(rw, x):
        return op.Where(op.ReduceMax(op.IsNaN(x), *axes, **rw.attrs(node)), op.const(np.nan, x), kernel)
    numbers = op.ReduceMin(op.Equal(x, x), *axes, **rw.attrs(node))
    return op.Where(numbers, kernel, op.const(np.nan, x))


def log_softmax(rw: Rewriter, node: ir.Node) -> Any:
    """Of float64, NaN where Softmax is: a row with NaN or plus infinity."""
    op, x = rw.op, node.inputs[0]
    if x is None:
        return None
    weights = op.Softmax(x, **rw.attrs(node))
    kernel = op.plain("LogSoftmax", x, **rw.attrs(node))
    return op.plain("Where", op.Equal(weights, weights), kernel, op.const(np.nan, x))


def max_pool(rw: Rewriter, node: ir.Node) -> Any:
    """As Where(some NaN, NaN, MaxPool(x)); of float32 also Where(all minus infinity, that, MaxPool(x)).

    That takes three times as long: by default the kernel stays, with a note. The kernel starts from the lowest number,
    which only its float64 form and the cast back to float16 make right. Over one or two axes both are a quotient, see
    `_quotient_pool`.
    """
    op, x = rw.op, node.inputs[0]
    if x is None or x.dtype is None or len(node.outputs) > 1 or is_empty(x):
        return None
    if node.op_type == "GlobalMaxPool" and x.dtype is T.DOUBLE:
        return None  # has no kernel at all
    if not rw.range(x).nan and rw.range(x).low > -np.inf:
        return None
    if not rw.exact_nonfinite:
        rw.only_finite(
            node.outputs[0], "NaN in a window is lost, and the lowest number stands for -inf alone in a window"
        )
        return None
    layout = rw.attrs(node)
    kernel = op.plain(node.op_type, x, **layout)
    divisor = _quotient_pool(rw, node, x)
    if divisor is not None:
        return op.Div(kernel, divisor)
    kind = op.cast(op.IsNaN(x), x.dtype)
    starts_lowest = x.dtype is T.FLOAT
    if starts_lowest:
        # NaN counts 1, minus infinity -1, a number 0: the largest in a window says what the result is.
        kind = op.plain("Sub", kind, op.cast(op.Equal(x, op.const(-np.inf, x)), x.dtype))
    kind = op.plain(node.op_type, kind, **layout)
    if starts_lowest:
        kernel = op.Where(op.Less(kind, op.const(0, x)), op.const(-np.inf, x), kernel)
        kind = op.plain("Max", kind, op.const(0, x))
    return op.Where(op.cast(kind, T.BOOL), op.const(np.nan, x), kernel)


def _quotient_pool(rw: Rewriter, node: ir.Node, x: ir.Value) -> Any:
    """The divisor of the kernel's result: 0 where all are minus infinity, NaN where one is, else 1.

    The kernel has the lowest number for minus infinity. HardSigmoid makes 1 of a number and 0 of minus infinity; their
    mean, rounded up, is 1 or 0. That is four nodes and 0.9 of the time of the general form, but not over three axes,
    where AveragePool takes long.
    """
    layout, rank = rw.attrs(node), len(shape_of(x) or ())
    layout.pop("storage_order", None)
    dilations = layout.get("dilations") or [1]
    if rw.opset < 19 and max(dilations) == 1:
        layout.pop("dilations", None)
    cannot_dilate = rw.opset < 19 and "dilations" in layout
    if x.dtype is T.DOUBLE or rank not in (3, 4) or layout.get("ceil_mode") or cannot_dilate:
        return None
    is_number = rw.op.HardSigmoid(x, alpha=2.0**-126, beta=5.0)
    if node.op_type == "MaxPool":
        layout["count_include_pad"] = 1
    return rw.op.Ceil(rw.op(node.op_type.replace("Max", "Average"), is_number, **layout))


def scatter(rw: Rewriter, node: ir.Node) -> Any:
    """As Where(Scatter(data is NaN, updates is NaN), NaN, Scatter(data, updates)), for reductions max and min.

    Of many numbers only if their sum is NaN, which it is where one of them is; else as Scatter(data, updates).
    """
    op, (data, indices, updates) = rw.op, node.inputs
    if data is None or updates is None:
        return None
    if rw.attr(node, "reduction", "none") not in ("max", "min"):
        return None
    layout = rw.attrs(node)
    if data.dtype is T.FLOAT16:
        # One of the two kernels has no float16 for this.
        wide = [op.cast(value, T.FLOAT) for value in (data, updates)]
        return op.cast(op(node.op_type, wide[0], indices, wide[1], **layout), T.FLOAT16)

    def kernel(rw: Rewriter) -> Any:
        return rw.op.plain(node.op_type, data, indices, updates, **layout)

    def marked(rw: Rewriter) -> Any:
        op = rw.op
        marks = [op.cast(op.IsNaN(value), T.UINT8) for value in (data, updates)]
        seen = op(node.op_type, marks[0], indices, marks[1], **(layout | {"reduction": "max"}))
        return op.Where(op.cast(seen, T.BOOL), op.const(np.nan, data), kernel(rw))

    unsure = [value for value in (data, updates) if rw.range(value).nan]
    if not unsure:
        return kernel(rw)
    if _is_small(rw, updates):
        return marked(rw)
    total = functools.reduce(op.Add, [op.ReduceSum(value, keepdims=0) for value in unsure])
    return op.If(op.IsNaN(total), then_branch=rw.branch(marked), else_branch=rw.branch(kernel))


def _is_small(rw: Rewriter, x: ir.Value) -> bool:
    """Whether so few numbers are there that a choice between graphs takes longer than to do more."""
    size = rw.size(x)
    return size is not None and size < _MANY
