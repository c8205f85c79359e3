"""Products next to transposes, written with the operands the other way round where that leaves fewer transposes."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin


@plugin.rewrite("Transpose")
def _transposed_product(rw: Rewriter, node: ir.Node) -> Any:
    """Transpose(MatMul(w, Transpose(x))) -> MatMul(x, Transpose(w)): what vmap makes of a matrix times a vector."""
    product = rw.producer(node.inputs[0], "MatMul")
    perm = rw.attr(node, "perm")
    if product is None or perm is None or not rw.only_use(product.outputs[0]):
        return None
    swap = _last_two(len(perm))
    left, right = product.inputs
    if left is None or right is None or list(perm) != swap:
        return None
    if any(len(rw.shape(value) or ()) != len(perm) for value in (left, right)):
        return None
    moved = [value for value in (left, right) if not rw.is_weight(value)]  # a weight is stored as it is read
    before = 1 + sum(_undoes(rw, value, swap) for value in moved)
    after = sum(not _undoes(rw, value, swap) for value in moved)
    if after >= before:
        return None
    return rw.op.MatMul(rw.op.Transpose(right, perm=swap), rw.op.Transpose(left, perm=swap))


@plugin.rewrite("MatMul")
def _vector_on_the_left(rw: Rewriter, node: ir.Node) -> Any:
    """MatMul(Transpose(a), vector) -> MatMul(vector, a)."""
    matrix, vector = node.inputs
    transpose = rw.producer(matrix, "Transpose")
    if transpose is None or len(rw.shape(vector) or (1, 1)) != 1:
        return None
    perm = list(rw.attr(transpose, "perm"))
    return rw.op.MatMul(vector, transpose.inputs[0]) if perm == _last_two(len(perm)) else None


def _last_two(rank: int) -> list[int]:
    """The order of axes in which the last two change places."""
    return [*range(rank - 2), rank - 1, rank - 2]


def _undoes(rw: Rewriter, value: ir.Value, swap: list[int]) -> bool:
    """Whether a value is the transpose of another one, so that transposing it again leaves nothing."""
    transpose = rw.producer(value, "Transpose")
    return transpose is not None and list(rw.attr(transpose, "perm")) == swap and rw.only_use(value)
