"""Integer sums, products and remainders that wrap, where the kernels compute in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...target import INTEGERS, UNSIGNED, bits
from .._composer import Composer, Declined, dimensions

T = ir.DataType

_WORDS = (T.INT32, T.INT64, T.UINT32, T.UINT64)
# Above this size a vector of ones is made when the session starts rather than stored.
_STORED_ONES = 1024


def reduce_sum(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As products with vectors of ones, one axis after the other."""
    x = node.inputs[0]
    if x is None or x.dtype not in _WORDS:
        return None
    sizes = dimensions(x)
    axes = c.axes(len(sizes))
    if not axes:
        return [c.op("Identity", x)]
    if 0 in sizes or _sum_is_small(x, [sizes[axis] for axis in axes]):
        return None
    total = _times_ones(c, x, sizes, axes)
    return [_keep_axes(c, node, total, axes)]


def _keep_axes(c: Composer, node: ir.Node, value: ir.Value, axes: Sequence[int]) -> ir.Value:
    if not c.attribute("keepdims", 1):
        return value
    return c.op("Unsqueeze", value, c.ints(axes), shape=node.outputs[0].shape)


def _sum_is_small(x: ir.Value, summed: Sequence[Any]) -> bool:
    """Whether no sum can leave the range, as when booleans are counted: x was cast from a small type."""
    cast = x.producer()
    if cast is None or cast.op_type != "Cast" or not all(isinstance(size, int) for size in summed):
        return False
    source = cast.inputs[0].dtype if cast.inputs[0] is not None else None
    if source is None or source not in (T.BOOL, *INTEGERS) or bits(source) > 16 or x.dtype in UNSIGNED:
        return False
    largest = 1 if source is T.BOOL else 2 ** bits(source)
    count: int = math.prod(summed)
    return count * largest < 2**31


def _times_ones(c: Composer, x: ir.Value, sizes: Sequence[Any], axes: Sequence[int]) -> ir.Value:
    rank = len(sizes)
    if axes == (rank - 2,):
        return c.op("MatMul", _ones(c, x, sizes[-2], rank - 2), x, shape=[*sizes[:-2], sizes[-1]])
    x, sizes = _axes_last(c, x, sizes, axes)
    total = x
    for last in reversed(range(rank - len(axes), rank)):
        total = c.op("MatMul", total, _ones(c, x, sizes[last], last), shape=sizes[:last])
    return total


def _axes_last(c: Composer, x: ir.Value, sizes: Sequence[Any], axes: Sequence[int]) -> tuple[ir.Value, list[Any]]:
    order = [axis for axis in range(len(sizes)) if axis not in axes] + list(axes)
    moved = [sizes[axis] for axis in order]
    if order == sorted(order):
        return x, moved
    return c.op("Transpose", x, perm=order, shape=moved), moved


def _ones(c: Composer, x: ir.Value, size: Any, axis: int) -> ir.Value:
    """As many ones as an axis of x is long."""
    assert x.dtype is not None
    one = np.ones((1,), x.dtype.numpy())
    if isinstance(size, int) and size <= _STORED_ONES:
        return c.const(np.repeat(one, size))
    if isinstance(size, int):
        length = c.ints([size])
    else:
        length = c.op("Shape", x, dtype=T.INT64, shape=[1], start=axis, end=axis + 1)
    return c.op("ConstantOfShape", length, dtype=x.dtype, shape=[size], value=ir.Tensor(one, dtype=x.dtype))


def reduce_prod(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As element-wise products of halves: n factors take log2(n) steps."""
    x = node.inputs[0]
    if x is None or x.dtype not in _WORDS:
        return None
    sizes = dimensions(x)
    axes = c.axes(len(sizes))
    if not axes:
        return [c.op("Identity", x)]
    if 0 in sizes:
        return None
    if not all(isinstance(sizes[axis], int) for axis in axes):
        raise Declined("the sizes of the axes have to be known for a product of integers that wraps")
    total = x
    for axis in axes:
        total = _product(c, total, axis)
    if c.attribute("keepdims", 1):
        return [total]
    return [c.op("Squeeze", total, c.ints(axes), shape=node.outputs[0].shape)]


def _product(c: Composer, x: ir.Value, axis: int) -> ir.Value:
    def part(start: int, stop: int) -> ir.Value:
        shape = [*sizes[:axis], stop - start, *sizes[axis + 1 :]]
        return c.op("Slice", x, c.ints([start]), c.ints([stop]), c.ints([axis]), shape=shape)

    sizes = dimensions(x)
    while (count := sizes[axis]) > 1:
        half = count // 2
        product = c.op("Mul", part(0, half), part(half, 2 * half))
        sizes[axis] = half + count % 2
        if count % 2:
            product = c.op("Concat", product, part(2 * half, count), axis=axis, shape=sizes)
        x = product
    return x


def einsum(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """Sums the labels that only one operand has, which the kernel sums as ReduceSum does; products wrap already."""
    operands = [value for value in node.inputs if value is not None]
    if operands[0].dtype not in _WORDS:
        return None
    equation = c.attribute("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) > 2 or any(len(set(term)) < len(term) for term in terms):
        raise Declined("of integers, only sums of two operands with an explicit result and distinct labels are exact")
    changed = False
    for index, term in enumerate(terms):
        elsewhere = set(right).union(*(other for i, other in enumerate(terms) if i != index))
        alone = [axis for axis, label in enumerate(term) if label not in elsewhere]
        if alone:
            changed = True
            kept = [size for axis, size in enumerate(dimensions(operands[index])) if axis not in alone]
            operands[index] = c.op("ReduceSum", operands[index], c.ints(alone), shape=kept, keepdims=0)
            terms[index] = "".join(label for label in term if label in elsewhere)
    if not changed:
        return None
    shape = node.outputs[0].shape
    if terms == [right]:
        return [c.op("Identity", operands[0], shape=shape)]
    return [c.op("Einsum", *operands, shape=shape, equation=f"{','.join(terms)}->{right}")]


def mod(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """As x - x / z * z, with the sign of x; without signs the other kind of remainder is the same."""
    x, z = node.inputs
    if x is None or z is None or not c.attribute("fmod", 0):
        return None
    shape = node.outputs[0].shape
    if x.dtype is T.UINT64:
        return [c.op("Mod", x, z, shape=shape, fmod=0)]
    if x.dtype is T.INT64:
        return [c.op("Sub", x, c.op("Mul", c.op("Div", x, z, shape=shape), z), shape=shape)]
    return None
