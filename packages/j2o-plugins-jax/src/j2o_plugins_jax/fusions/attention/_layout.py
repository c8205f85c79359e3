"""Attention and RotaryEmbedding on [batch, tokens, heads * size], as projections give it.

before: q4 = Transpose(Reshape(q), perm 0 2 1 3), perhaps turned by RotaryEmbedding; the same for k and v
        y = Transpose(Attention(q4, k4, v4), perm 0 2 1 3)
after:  q3 = RotaryEmbedding(q, num_heads); y = Reshape(Attention(q3, k3, v3, q_num_heads, kv_num_heads))

Casts around them stay there. Where the operands are no transposes, the axes stay where they are. One thread, DINOv3-S:
as fast, and four changes of layout less each.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from ..._plugin import plugin
from .._half import before_half_cast

_SWAP = (0, 2, 1, 3)


@plugin.rewrite("Transpose", opset=23, late=True)
def _tokens_first(rw: Rewriter, node: ir.Node) -> dict[ir.Value, ir.Value] | None:
    attention = rw.producer(before_half_cast(rw, node.inputs[0]) or node.inputs[0], "Attention")
    if attention is None or node.inputs[0] is None or tuple(rw.attr(node, "perm")) != _SWAP:
        return None
    if not all(map(rw.only_use, (attention.outputs[0], node.inputs[0]))):
        return None
    q, k, v = (_joined_heads(rw, value) for value in attention.inputs[:3])
    if q is None or k is None or v is None:
        return None
    heads = [(rw.shape(value) or ())[1] for value in attention.inputs[:2]]
    if not all(isinstance(count, int) for count in heads):
        return None
    attrs = rw.attrs(attention)
    result = rw.op.Attention(q, k, v, *attention.inputs[3:], **attrs, q_num_heads=heads[0], kv_num_heads=heads[1])
    if (difference := rw.difference(attention)) is not None:
        rw.only_finite(result, difference)
    result = rw.op.Cast(result, to=node.outputs[0].dtype)
    readers = [user for user, _ in node.outputs[0].uses()]
    if rw.only_use(node.outputs[0]) and readers[0].op_type == "Reshape":
        (old,) = readers[0].outputs
    else:
        (old,) = node.outputs
    return {old: rw.reshape(result, rw.shape(old))}


def _joined_heads(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """[batch, heads, length, size] as [batch, length, heads * size], None if that would move anything."""
    shape = rw.shape(value)
    if value is None or shape is None:
        return None
    batch, heads, length, size = shape
    cast = rw.producer(value, "Cast")
    if cast is not None:
        x = _joined_heads(rw, cast.inputs[0]) if rw.only_use(value) else None
        return None if x is None else rw.op.Cast(x, to=value.dtype)
    where = rw.producer(value, "Where")
    if where is not None:
        return _cleaned_keys(rw, where) if rw.only_use(value) else None
    turned = rw.producer(value, "RotaryEmbedding")
    if turned is not None:
        x = _joined_heads(rw, turned.inputs[0]) if rw.only_use(value) and isinstance(heads, int) else None
        return None if x is None else rw.op.RotaryEmbedding(x, *turned.inputs[1:], **rw.attrs(turned), num_heads=heads)
    transpose = rw.producer(value, "Transpose")
    if transpose is not None and tuple(rw.attr(transpose, "perm")) == _SWAP and rw.only_use(value):
        assert transpose.inputs[0] is not None
        return rw.reshape(transpose.inputs[0], (batch, length, heads * size))
    return rw.reshape(value, (batch, length, size)) if heads == 1 else None


def _cleaned_keys(rw: Rewriter, where: ir.Node) -> ir.Value | None:
    """Where(kept [batch or 1, 1, length, 1], keys, 0) on the joined heads of the keys."""
    kept, keys, zero = where.inputs
    shape = rw.shape(kept)
    x = _joined_heads(rw, keys)
    if kept is None or shape is None or len(shape) != 4 or not shape[1] == shape[3] == 1 or x is None:
        return None
    return rw.op.Where(rw.reshape(kept, (shape[0], shape[2], 1)), x, zero) if rw.scalar(zero) == 0 else None
