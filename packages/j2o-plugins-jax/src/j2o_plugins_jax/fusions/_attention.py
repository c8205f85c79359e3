"""Attention-23.

before: s = MatMul(q, Transpose(k)) * scale; y = MatMul(Softmax(s, -1), v)
after:  y = Attention(q, k, v, scale)

q, k, v have shape [batch, heads, length, size], or [heads, length, size] without batch. Declines for masks and biases
(see the composite `jax.nn.dot_product_attention`), other ranks, and float64, which ONNX Runtime computes in float32.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin

_DTYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@plugin.rewrite("MatMul", opset=23)
def _attention(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    softmax = rw.producer(node.inputs[0], "Softmax")
    v = node.inputs[1]
    if softmax is None or v is None or v.dtype not in _DTYPES or not rw.only_use(softmax.outputs[0]):
        return None
    rank = len(rw.shape(softmax.outputs[0]) or ())
    if rw.attr(softmax, "axis", -1) not in (-1, rank - 1) or softmax.inputs[0] is None:
        return None
    scale, factors = rw.product(softmax.inputs[0])
    scores = rw.producer(factors[0], "MatMul") if len(factors) == 1 else None
    if scores is None or scale <= 0:
        return None
    q, k_transposed = scores.inputs
    if q is None or k_transposed is None or rank not in (3, 4):
        return None
    if not all(len(rw.shape(value) or ()) == rank for value in (q, k_transposed, v)):
        return None
    if not rw.same_shape(scores.outputs[0], softmax.outputs[0]) or not _same_batch(rw, q, k_transposed, v):
        return None
    swap = (0, 2, 1) if rank == 3 else (0, 1, 3, 2)
    operands = [q, rw.op.Transpose(k_transposed, perm=swap), v]
    if rank == 3:
        axis = rw.const([0], "int64")
        operands = [rw.op.Unsqueeze(value, axis) for value in operands]
        return rw.op.Squeeze(rw.op.Attention(*operands, scale=scale), axis)  # type: ignore[no-any-return]
    return rw.op.Attention(*operands, scale=scale)  # type: ignore[no-any-return]


def _same_batch(rw: Rewriter, *values: ir.Value) -> bool:
    """Whether all have equal leading axes: the operator does not broadcast them."""
    shapes = [rw.shape(value) for value in values]
    leading = [str(shape[:-2]) for shape in shapes if shape is not None]
    return len(leading) == len(values) and len(set(leading)) == 1
