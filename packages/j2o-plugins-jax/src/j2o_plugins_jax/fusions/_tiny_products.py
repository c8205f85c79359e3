"""Many products of tiny matrices: Mul, or Mul and a sum.

before: MatMul(x, y) with x [..., rows, 1], y [..., 1, columns]         after: Mul(x, y)
before: MatMul(x, y) with x [..., 1, inner], y [..., inner, 1]          after: ReduceSum(Mul(x, y), -1), as vectors
before: MatMul(x, y) with x [..., rows, inner], y [..., inner, columns]
after:  ReduceSum(Mul(x [rows, inner, 1, ...], y [inner, columns, ...]), 1), Transposes before and behind
before: MatMul(x, y) with x [..., rows, inner], y [..., inner, 1]       after: ReduceSum(Mul(x, y as rows), -1)

The sum of up to four numbers along the last axis is MatMul(products, ones [inner, 1]), one product for all pairs.

MatMul costs ONNX Runtime 0.15 us for each pair of matrices, however small they are. Declines for few pairs and for
matrices that are worth the call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter
from j2o_core.graph._infer import same_dimension

from .._plugin import plugin

# Numbers of a result or of a matrix up to which Mul, which broadcasts, is faster than the call of a product.
_OUTER = 64
_MATRIX = 64
_ROWS = 8
# Numbers of a sum up to which a product with ones takes less time than ReduceSum: two thirds of it.
_SHORT_SUM = 4
# Components of two vectors up to which their product is faster so, for any number of pairs: no Reshapes are needed.
_COMPONENTS = 16
# Products of a pair of matrices up to which it is faster side by side with the others, and those of one and a vector.
_PRODUCTS = 128
_PRODUCTS_WITH_VECTOR = 36
_PRODUCTS_OF_FLOAT64 = 32
# Pairs of matrices from which it is, and what a symbolic number of them counts as.
_PAIRS = 4
_PAIRS_OF_MATRIX = 32
_MANY = 1024


@plugin.rewrite("MatMul", late=True)
def _tiny_product(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, y = node.inputs
    left, right = rw.shape(x), rw.shape(y)
    if x is None or y is None or left is None or right is None or min(len(left), len(right)) < 3:
        return None
    (rows, inner), columns = left[-2:], right[-1]
    if not all(isinstance(size, int) for size in (rows, inner, columns)):
        return None
    batches = len(left) == len(right) and all(map(same_dimension, left[:-2], right[:-2]))
    if rows == columns == 1 < inner <= _COMPONENTS and batches and rw.dtype(x) in (np.float32, np.float64):
        vectors = (rw.reshape(value, [*left[:-2], inner]) for value in (x, y))
        return rw.reshape(_sums(rw, rw.op.Mul(*vectors), inner), [*left[:-2], 1, 1])
    if _count(right[:-2]) == 1:
        return None
    pairs = max(_count(left[:-2]), _count(right[:-2]))
    if inner == 1:
        small = min(rows, columns) == 1 or rows * columns <= _OUTER
        return rw.op.Mul(x, y) if small and pairs >= _PAIRS else None
    if rw.dtype(x) not in (np.float32, np.float64):
        return None
    limit = _side_by_side_limit(rw.dtype(x), rows, columns)
    if batches and pairs >= _PAIRS_OF_MATRIX and 0 < rows * inner * columns <= limit:
        return _side_by_side(rw, x, y, [*left[:-1], columns], inner)
    if columns > 1:
        return None
    if pairs >= _PAIRS if rows == 1 else pairs >= _PAIRS_OF_MATRIX and rows <= _ROWS and rows * inner <= _MATRIX:
        return _sums(rw, rw.op.Mul(x, rw.reshape(y, [*right[:-2], 1, inner])), inner)
    return None


def _side_by_side_limit(dtype: np.dtype[Any], rows: int, columns: int) -> int:
    """How many products a pair may have; the Transposes of float64 take three times as long."""
    if dtype == np.float64:
        return 0 if columns == 1 else _PRODUCTS_OF_FLOAT64
    if rows == columns == 1:
        return 0
    return _PRODUCTS_WITH_VECTOR if min(rows, columns) == 1 else _PRODUCTS


def _side_by_side(rw: Rewriter, x: ir.Value, y: ir.Value, shape: Sequence[Any], inner: int) -> ir.Value:
    """The product, of this shape: each operation runs along the pairs, which are the last axis meanwhile.

    Each matrix is one axis where they come last: a Transpose of two axes takes a sixth of the time of one of three, and
    ONNX Runtime would move one of three behind the Mul, which ran along the matrices then.
    """
    *batches, rows, columns = shape
    pairs = math.prod(batches)

    def last(value: ir.Value, sizes: Sequence[int]) -> ir.Value:
        """Matrices of these sizes, and the pairs behind."""
        flat = rw.reshape(value, [pairs, math.prod(sizes)])
        return rw.reshape(rw.op.Transpose(flat, perm=[1, 0]), [*sizes, pairs])

    products = rw.op.Mul(last(x, [rows, inner, 1]), last(y, [inner, columns]))
    sums = rw.op.ReduceSum(products, rw.const([1], np.int64), keepdims=0)
    return rw.reshape(rw.op.Transpose(rw.reshape(sums, [rows * columns, pairs]), perm=[1, 0]), shape)


def _sums(rw: Rewriter, products: ir.Value, inner: int) -> ir.Value:
    """Sums along the last axis, which stays."""
    if inner <= _SHORT_SUM:
        return rw.op.MatMul(products, rw.const(np.ones((inner, 1)), products))
    return rw.op.ReduceSum(products, rw.const([-1], np.int64), keepdims=1)


def _count(sizes: Sequence[Any]) -> int:
    """How many matrices there are."""
    return math.prod(size if isinstance(size, int) else _MANY for size in sizes)
