"""Products of a transposed matrix with a vector, which the runtime multiplies with the matrix as it was before."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph import traits
from ...graph._values import shape_of
from ...rewrite import Rewriter

# Operators that the runtime moves no transpose through.
_ENDS = frozenset({"MatMul", "Gemm", *traits.CONVOLUTIONS, "Einsum", "Attention", *traits.CONTROL_FLOW})


def matmul(rw: Rewriter, node: ir.Node) -> Any:
    """With the vector as a matrix of one column, where a transpose may come to stand before the product."""
    op, (matrix, vector) = rw.op, node.inputs
    if matrix is None or vector is None or len(shape_of(vector) or ()) != 1:
        return None
    if len(shape_of(matrix) or ()) < 2 or not _is_transposed(matrix):
        return None
    last = op.const([-1], np.int64)
    return op.Squeeze(op.MatMul(matrix, op.Unsqueeze(vector, last)), last)


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
