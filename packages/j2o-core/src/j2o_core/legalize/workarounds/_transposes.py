"""Products of a transposed matrix with a vector, which the runtime multiplies with the matrix as it was before."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ...target import FLOATS
from .._composer import Composer

# Operators that the runtime moves no transpose through.
_ENDS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Attention", "If", "Loop", "Scan"})


def matmul(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
    """With the vector as a matrix of one column, where a transpose may come to stand before the product."""
    matrix, vector = node.inputs
    if matrix is None or vector is None or vector.shape is None or len(vector.shape) != 1:
        return None
    if matrix.shape is None or len(matrix.shape) < 2 or matrix.dtype not in FLOATS or not _is_transposed(matrix):
        return None
    last = c.ints([-1])
    column = c.op("Unsqueeze", vector, last, shape=[*vector.shape, 1])
    product = c.op("MatMul", matrix, column, shape=[*matrix.shape[:-1], 1])
    return [c.op("Squeeze", product, last, shape=node.outputs[0].shape)]


def _is_transposed(value: ir.Value) -> bool:
    """Whether a transpose is above, next to the value or where the runtime could move it down from."""
    seen: set[ir.Node] = set()
    above = [value.producer()]
    while above:
        node = above.pop()
        if node is None or node in seen or node.op_type in _ENDS:
            continue
        if node.op_type == "Transpose":
            return True
        seen.add(node)
        above += [operand.producer() for operand in node.inputs if operand is not None]
    return False
