"""Integer sums, products and remainders that wrap, where the kernels compute in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph._values import is_empty, numpy_dtype
from ...rewrite import Rewriter
from ...target import INTEGERS, UNSIGNED, bits
from .._declined import Declined, reduced_axes, sizes_of

T = ir.DataType

_WORDS = (T.INT32, T.INT64, T.UINT32, T.UINT64)
# Above this size a vector of ones is made when the session starts rather than stored.
_STORED_ONES = 1024


def reduce_sum(rw: Rewriter, node: ir.Node) -> Any:
    """As products with vectors of ones, one axis after the other."""
    x = node.inputs[0]
    if x is None or x.dtype not in _WORDS:
        return None
    sizes, axes = sizes_of(x), reduced_axes(rw, node)
    if not axes:
        return x
    if is_empty(x) or _sum_is_small(rw, x, [sizes[axis] for axis in axes]):
        return None
    total = _times_ones(rw, x, axes)
    return rw.op.Unsqueeze(total, rw.const(axes, np.int64)) if rw.attr(node, "keepdims", 1) else total


def _sum_is_small(rw: Rewriter, x: ir.Value, summed: Sequence[Any]) -> bool:
    """Whether no sum can leave the range, as when booleans are counted: x was cast from a small type."""
    narrow = rw.operand_of(x, "Cast")
    source = narrow.dtype if narrow is not None and all(isinstance(size, int) for size in summed) else None
    if source is None or source not in (T.BOOL, *INTEGERS) or x.dtype in UNSIGNED:
        return False
    largest = 1 if source is T.BOOL else 2 ** bits(source)
    count: int = math.prod(summed)
    return count * largest < 2**31


def _times_ones(rw: Rewriter, x: ir.Value, axes: Sequence[int]) -> Any:
    rank = len(sizes_of(x))
    if axes == (rank - 2,):
        return rw.op.MatMul(_ones(rw, x, rank - 2), x)
    x = rw.op.Transpose(x, perm=[*(axis for axis in range(rank) if axis not in axes), *axes])
    total = x
    for last in reversed(range(rank - len(axes), rank)):
        total = rw.op.MatMul(total, _ones(rw, x, last))
    return total


def _ones(rw: Rewriter, x: ir.Value, axis: int) -> Any:
    """As many ones as an axis of x is long."""
    one, size = np.ones((1,), numpy_dtype(x)), sizes_of(x)[axis]
    if isinstance(size, int) and size <= _STORED_ONES:
        return rw.const(np.repeat(one, size))
    length = rw.const([size], np.int64) if isinstance(size, int) else rw.op.Shape(x, start=axis, end=axis + 1)
    return rw.shaped(rw.op.ConstantOfShape(length, value=ir.Tensor(one)), [size])


def reduce_prod(rw: Rewriter, node: ir.Node) -> Any:
    """As element-wise products of halves: n factors take log2(n) steps."""
    x = node.inputs[0]
    if x is None or x.dtype not in _WORDS:
        return None
    sizes, axes = sizes_of(x), reduced_axes(rw, node)
    if not axes:
        return x
    if is_empty(x):
        return None
    if not all(isinstance(sizes[axis], int) for axis in axes):
        raise Declined("the sizes of the axes have to be known for a product of integers that wraps")
    total = x
    for axis in axes:
        total = _product(rw, total, axis)
    return total if rw.attr(node, "keepdims", 1) else rw.op.Squeeze(total, rw.const(axes, np.int64))


def _product(rw: Rewriter, x: ir.Value, axis: int) -> ir.Value:
    while (count := sizes_of(x)[axis]) > 1:
        half = count // 2
        product = rw.op.Mul(rw.cut(x, axis, 0, half), rw.cut(x, axis, half, 2 * half))
        x = rw.op.Concat(product, rw.cut(x, axis, 2 * half, count), axis=axis) if count % 2 else product
    return x


def einsum(rw: Rewriter, node: ir.Node) -> Any:
    """Sums the labels that only one operand has, which the kernel sums as ReduceSum does; products wrap already."""
    operands = [value for value in node.inputs if value is not None]
    equation = rw.attr(node, "equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow or len(terms) > 2 or any(len(set(term)) < len(term) for term in terms):
        raise Declined("of integers, only sums of two operands with an explicit result and distinct labels are exact")
    changed = False
    for index, term in enumerate(terms):
        elsewhere = set(right).union(*(other for i, other in enumerate(terms) if i != index))
        alone = [axis for axis, label in enumerate(term) if label not in elsewhere]
        if alone:
            changed = True
            operands[index] = rw.op.ReduceSum(operands[index], rw.const(alone, np.int64), keepdims=0)
            terms[index] = "".join(label for label in term if label in elsewhere)
    if not changed:
        return None
    if terms == [right]:
        return operands[0]
    return rw.op.Einsum(*operands, equation=f"{','.join(terms)}->{right}")


def mod(rw: Rewriter, node: ir.Node) -> Any:
    """As x - x / z * z, with the sign of x; without signs the other kind of remainder is the same."""
    x, z = node.inputs
    if x is None or z is None or not rw.attr(node, "fmod", 0):
        return None
    if x.dtype is T.UINT64:
        return rw.op.Mod(x, z, fmod=0)
    if x.dtype is T.INT64:
        return rw.op.Sub(x, rw.op.Mul(rw.op.Div(x, z), z))
    return None
