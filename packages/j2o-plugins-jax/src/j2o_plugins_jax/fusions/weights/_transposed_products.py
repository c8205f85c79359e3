"""Products next to transposes, written with the operands the other way round where that leaves fewer transposes."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from j2o_core import Rewriter
from j2o_core.graph._infer import same_shape

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


@plugin.rewrite("Transpose")
def _columns_in_front(rw: Rewriter, node: ir.Node) -> Any:
    """Transpose(Reshape(MatMul(a, b))), columns of b in front of rows of a -> Reshape(MatMul(columns, Transpose(a))).

    So scores of grouped queries are not moved: einsum has the keys on the left, and queries are in any order of axes.
    """
    view = rw.view(node.outputs[0])
    product = rw.producer(view.root, "MatMul") if view is not None else None
    if view is None or product is None or not all(rw.only_use(inner.inputs[0]) for inner in view.nodes):
        return None
    left, right = product.inputs
    shapes = [rw.shape(value) or () for value in (left, right)]
    rank = len(shapes[0])
    if left is None or right is None or rank < 3 or not same_shape(shapes[0][:-2], shapes[1][:-2]):
        return None
    parts = [part for axis in view.axes for part in axis]
    columns = [part for part in parts if part.axis == rank - 1]
    batch, rows = (sorted(part for part in parts if part.axis in axes) for axes in (range(rank - 2), (rank - 2,)))
    # Batch axes and rows are whole and keep their order, and all columns lie between them.
    whole = len(batch) + len(rows) == sum(map(len, rw.axes(view.root)[:-1]))
    if parts != [*batch, *columns, *rows] or not whole or not _is_moved(rw, right):
        return None
    smaller = all(isinstance(shape[-1], int) for shape in shapes) and shapes[0][-1] < shapes[1][-1]
    if not (_is_moved(rw, left) or smaller):  # cost: else as much is moved as before
        return None
    axes = rw.axes(right)
    front = rw.arranged(right, axes, (*axes[:-2], tuple(columns), axes[-2]))
    if front is None:
        return None
    return rw.reshape(rw.op.MatMul(front, rw.op.Transpose(left, perm=_last_two(rank))), rw.shape(node.outputs[0]))


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


def _is_moved(rw: Rewriter, value: ir.Value) -> bool:
    """Whether a value is made by a Transpose, and maybe Reshape, for its one reader."""
    view = rw.view(value)
    if view is None or not rw.only_use(value):
        return False
    inner = [node.outputs[0] for node in view.nodes[:-1]]
    return any(node.op_type == "Transpose" for node in view.nodes) and all(map(rw.only_use, inner))


def _undoes(rw: Rewriter, value: ir.Value, swap: list[int]) -> bool:
    """Whether a value is the transpose of another one, so that transposing it again leaves nothing."""
    transpose = rw.producer(value, "Transpose")
    return transpose is not None and list(rw.attr(transpose, "perm")) == swap and rw.only_use(value)
