"""Attention-23.

before: s = MatMul(q, Transpose(k)) * scale; y = MatMul(Softmax(s, -1), v)
after:  y = Attention(q, k, v, mask, scale, is_causal, softcap)

Between the products there may be numbers multiplied before or behind, biases, masks (`_scores` reads them,
`_masks` writes the operator's), `c * Tanh(s / c)`, and any Reshape and Transpose that keeps the axis of the
keys whole; so the axes may come in any order, with none, one or several of batch and heads, and an operand that lacks
some of them, as under `jax.vmap` of the others, is broadcast. A number multiplied on q or k becomes part of the scale;
a scale for each head or query, or one that is computed, is multiplied on q. Keys and values repeated for groups of
heads, or broadcast over all heads, are taken as they are before. The softmax of products in float16 may be taken in
float32 (softmax_precision), if no bias is added to them there.

before: s = MatMul(Cast(q), Transpose(Cast(k))) * scale; y = MatMul(Cast(Softmax(s, -1)), v)
after:  y = Cast(Attention(Cast(q), Cast(k), Cast(v)))

Products that are float32 already, and all of bfloat16, become an operator of float32 between casts. The operator of
bfloat16 is defined to round the root of the scale, which shifts logits of 50 by 0.2; ONNX Runtime does not have it. The
result is rounded once, where JAX also rounds the weights and, of bfloat16, the logits.

With `jax.nn.softmax(where=m)`, m is a constant that leaves each query a key: for a query without one the weights are
zeros there, which the standard does not say of the operator.

Declines for nonfinite="exact", where scores or weights are read elsewhere, for batches of values alone, for scales that
are not positive, for masks that the operator cannot say, for other casts on the way, and for float64, which ONNX
Runtime computes in float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits

from ..._plugin import plugin
from .._half import HALVES, UP_TO_FLOAT32, widened
from ._masks import attention_mask
from ._scores import Factor, Mask, Scores, read_scores

# Numbers that are multiplied on scores one after another are few.
_LONGEST_CHAIN = 10
_LARGEST_SCALE = float(np.finfo(np.float32).max)

# Axes of an operand that the scores have not count from here.
_OWN = 1000

Axes = tuple[Any, ...]


@dataclass(frozen=True)
class _Frame:
    """The axes [batch, heads, queries, keys] of the operator, in parts of the axes of the first product.

    `lead` and `rows` are those of the second product; `rows` may have batches that share their values, too. Queries may
    be those of several heads that share keys, of which there are `few_heads` then. `own` are the axes of the first
    product, `first` the places of its matrix axes: queries and keys, each perhaps with batches that the other operand
    has not.
    """

    lead: Axes
    rows: Any
    batch: Any
    few_heads: Any
    heads: Any
    queries: Any
    keys: Any
    own: Axes
    first: tuple[int, int]


@plugin.rewrite("MatMul", makes="Attention")
def _attention(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for side in (0, 1):
        softmax, path = _softmax_behind(rw, node.inputs[side])
        if softmax is not None and (result := _fused(rw, node, side, softmax, path)) is not None:
            return result
    return None


def _softmax_behind(rw: Rewriter, value: ir.Value | None) -> tuple[ir.Node | None, list[ir.Node]]:
    """The Softmax that makes a value, and layouts, casts and zeros put in between."""
    path: list[ir.Node] = []
    while value is not None and len(path) < _LONGEST_CHAIN:
        softmax = rw.producer(value, "Softmax")
        if softmax is not None:
            return softmax, path[::-1]
        layout = rw.producer(value, *traits.LAYOUT, "Cast", "Where")
        if layout is None or (layout.op_type == "Where" and rw.scalar(layout.inputs[2]) != 0):
            return None, []
        path.append(layout)
        value = layout.inputs[1 if layout.op_type == "Where" else 0]
    return None, []


def _fused(rw: Rewriter, node: ir.Node, side: int, softmax: ir.Node, path: Sequence[ir.Node]) -> ir.Value | None:
    chain = _scores_chain(rw, softmax.inputs[0], _LONGEST_CHAIN)
    if chain is None:
        return None
    product, steps = chain
    if rw.opset < 23:
        return rw.decline(f"the operator begins with opset 23, the program has {rw.opset}")
    if rw.exact_nonfinite:
        return rw.decline('the operator is not exact for NaN and infinities: nonfinite="exact"')
    if node.outputs[0].dtype not in UP_TO_FLOAT32:
        return rw.decline(f"the dtype is {node.outputs[0].dtype}")
    if not all(rw.only_use(step.outputs[0]) for step in (softmax, *path)):
        return rw.decline("the weights are read elsewhere")
    if not all(rw.only_use(step.outputs[0]) for step in (product, *(step for step, _ in steps))):
        return rw.decline("the scores are read elsewhere")
    other = node.inputs[1 - side]
    if other is None or any(len(rw.shape(x) or ()) < 2 for x in (*node.inputs, *product.inputs)):
        return rw.decline("a product is that of a vector")
    own = _product_axes(rw, product)
    scores = read_scores(rw, own, steps)
    if scores is None:
        return rw.decline("the scores go through more than scales, one softcap, biases and masks")
    dtype = _dtype(node, softmax, path, product, wide=scores.wide)
    if dtype is None:
        return rw.decline("a Cast between the products rounds more, or less, than the operator")
    if not all(_is_zero_anyway(rw, zeros, softmax, scores) for zeros in path if zeros.op_type == "Where"):
        return rw.decline("weights are set to zero, which the mask does not show to be zero")
    frame = _frame(rw, own, scores.axes, softmax, path, side)
    if frame is None:
        return rw.decline("the axis of the softmax is not that of the keys in both products")
    q, k = _queries_and_keys(rw, product, frame)
    frame = _with_groups(rw, frame, q)
    (q, q_scale), (k, k_scale) = _unscaled(rw, q), _unscaled(rw, k)
    scale = scores.scale * q_scale * k_scale
    if not 0 < scale <= _LARGEST_SCALE:
        return rw.decline(f"the scale is {scale:g}, not positive and finite")
    if scale > 1 and dtype is ir.DataType.FLOAT16:  # its root is multiplied on queries and keys
        return rw.decline(f"queries and keys of float16 may overflow with the scale {scale:g}")
    v = rw.op.Transpose(other, perm=_swapped(rw, other)) if side == 1 else other
    operands = _operands(rw, frame, *(_narrow(rw, value) for value in (q, k, v)))
    if operands is None:
        return rw.decline("several batches of values have the same weights")
    operands = [rw.op.Cast(value, to=dtype) for value in operands]
    target = (frame.batch, frame.heads, frame.queries, frame.keys)
    masking = attention_mask(rw, scores, target, dtype)
    if masking is None:
        return rw.decline("the operator cannot say these masks and biases")
    if masking.clean_keys is not None:
        operands[1] = rw.op.Where(masking.clean_keys, operands[1], rw.const(0, operands[1]))
    q_scaled = _scaled_queries(rw, operands[0], scores.factors, target)
    if q_scaled is None:
        return rw.decline("the scores are multiplied by what varies along the keys")
    attributes: dict[str, Any] = {
        "is_causal": 1 if masking.is_causal else None,
        "softmax_precision": int(ir.DataType.FLOAT) if scores.wide else None,
    }
    result = rw.op.Attention(q_scaled, *operands[1:], masking.mask, scale=scale, softcap=scores.softcap, **attributes)
    if masking.differences:
        rw.only_finite(result, "; ".join(masking.differences))
    result = rw.op.Cast(result, to=node.outputs[0].dtype)
    size = rw.axes(v, _OWN)[-1]
    merged = rw.arranged(result, (*target[:3], size), (*frame.lead, frame.rows, size))
    assert merged is not None
    shape = rw.shape(node.outputs[0])
    assert shape is not None
    if side == 0:
        return rw.reshape(merged, shape)
    turned = rw.reshape(merged, [*shape[:-2], shape[-1], shape[-2]])
    return rw.op.Transpose(turned, perm=_swapped(rw, turned))


def _is_zero_anyway(rw: Rewriter, zeros: ir.Node, softmax: ir.Node, scores: Scores) -> bool:
    """Whether Where(m, weights, 0) repeats a mask, a constant that leaves each query a key."""
    kept = rw.constant(zeros.inputs[0])
    if kept is None or zeros.inputs[1] is not softmax.outputs[0]:
        return False
    axis, rank = rw.attr(softmax, "axis", -1), len(rw.shape(softmax.outputs[0]) or ())
    full = kept.reshape((1,) * (rank - kept.ndim) + kept.shape)
    masks = [entry for entry in scores.entries if isinstance(entry, Mask) and entry.kept is zeros.inputs[0]]
    same = any(not mask.inverted and mask.low == -math.inf for mask in masks)
    return same and bool(full.any(axis).all())


def _dtype(
    node: ir.Node, softmax: ir.Node, path: Sequence[ir.Node], product: ir.Node, *, wide: bool
) -> ir.DataType | None:
    """The element type of the operator, None if values between are rounded more than it or the result is."""
    first, weights, result = (value.dtype for value in (product.outputs[0], softmax.outputs[0], node.outputs[0]))
    casts = [step.outputs[0].dtype for step in path if step.op_type == "Cast"]
    half, brain, single = ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT
    if wide:  # products in float16, softmax in float32
        return half if (first, weights, result, casts) == (half, single, half, [half]) else None
    if casts:  # softmax in float32, of products in float32 or bfloat16
        same = weights is single and casts == [result] and result in HALVES
        return single if same and first in (single, result) else None
    if first is weights is result:
        return single if first is brain else first
    return None


def _narrow(rw: Rewriter, value: ir.Value) -> ir.Value:
    """A value in half precision, if it was widened on the way: so the Cast is next to the operator."""
    view = rw.view(value)
    half = widened(rw, view.root) if view is not None else None
    if view is None or half is None or half is view.root:
        return value
    plain = rw.arranged(half, rw.axes(half), view.axes)
    return value if plain is None else rw.reshape(plain, rw.shape(value))


def _scaled_queries(rw: Rewriter, q: ir.Value, factors: Sequence[Factor], target: Axes) -> ir.Value | None:
    """Queries times what the scores are multiplied by, None if that varies along the keys."""
    for factor in factors:
        axes = (*target[:3], ())
        parts = {(part.axis, part.stride) for axis in axes for part in axis}
        own = [(part.axis, part.stride) for axis in factor.axes for part in axis]
        number = rw.arranged(factor.value, factor.axes, axes) if set(own) <= parts else None
        if number is None:
            return None
        q = rw.op(factor.op_type, q, rw.op.Cast(number, to=q.dtype))
    return q


def _swapped(rw: Rewriter, value: ir.Value) -> list[int]:
    rank = len(rw.shape(value) or ())
    return [*range(rank - 2), rank - 1, rank - 2]


def _scores_chain(rw: Rewriter, value: ir.Value | None, depth: int) -> tuple[ir.Node, list[tuple[ir.Node, int]]] | None:
    """The product of queries and keys, and what happens to it on the way: (node, which operand it is)."""
    node = rw.producer(value)
    if value is None or node is None:
        return None
    if depth == 0:  # cost: of the search
        return None
    if node.op_type == "MatMul":
        return node, []
    for place in _places(rw, node):
        operand = node.inputs[place]
        if node.op_type not in traits.LAYOUT and (operand is None or not rw.same_shape(operand, value)):
            continue
        inner = _scores_chain(rw, operand, depth - 1)
        if inner is not None:
            return inner[0], [*inner[1], (node, place)]
    return None


def _places(rw: Rewriter, node: ir.Node) -> list[int]:
    """The operands of a node that may be the scores."""
    if node.op_type in (*traits.LAYOUT, "Tanh", "Neg", "Cast"):
        return [0]
    numbers = [index for index, value in enumerate(node.inputs) if rw.scalar(value) is not None]
    if node.op_type in ("Mul", "Div"):
        scaled = [0, 1] if node.op_type == "Mul" else [0]
        return [place for place in scaled if 1 - place in numbers] or scaled
    if node.op_type in ("Add", "Sub"):
        return [0, 1] if node.op_type == "Add" else [0]
    if node.op_type == "Where":
        return [index for index in (1, 2) if 3 - index in numbers]
    return []


def _product_axes(rw: Rewriter, product: ir.Node) -> Axes:
    """The axes of a product, a symbolic one as what it was merged of in its operand, as `B * T` is not to be cut."""
    axes, fresh = list(rw.axes(product.outputs[0])), itertools.count(len(rw.axes(product.outputs[0])))
    for place, value in zip((-2, -1), product.inputs, strict=True):
        view = rw.view(value) if value is not None else None
        pieces = view.axes[place] if view is not None and 2 <= len(view.axes) <= len(axes) else ()
        if len(pieces) > 1 and not all(isinstance(part.size, int) for part in axes[place]):
            axes[place] = tuple(part._replace(axis=next(fresh), stride=1) for part in pieces)
    return tuple(axes)


def _frame(rw: Rewriter, own: Axes, axes: Axes, softmax: ir.Node, path: Sequence[ir.Node], side: int) -> _Frame | None:
    """Which parts of the first product are batch, heads, queries and keys of the second."""
    keys = axes[rw.attr(softmax, "axis", -1)]
    found = rw.followed(path, axes)
    if found is None:
        return None
    *lead, row, column = found
    rows, contracted = (row, column) if side == 0 else (column, row)
    if contracted != keys or not keys:
        return None
    ids = [{part.axis for part in axis} for axis in own]
    key_axis = next((place for place in (-2, -1) if {part.axis for part in keys} <= ids[place]), None)
    if key_axis is None:
        return None
    query_axis = -3 - key_axis
    queries = tuple(part for part in rows if part.axis in ids[query_axis])
    varying = [(part,) for part in rows if part not in queries] + [axis for axis in lead if axis]
    fixed = all(isinstance(part.size, int) for part in (varying[-1] if varying else ()))
    heads = varying.pop() if len(varying) > 1 or (varying and fixed) else ()
    outer = tuple(part for axis in varying for part in axis)
    return _Frame(tuple(lead), rows, outer, heads, heads, queries, keys, own, (query_axis, key_axis))


def _with_groups(rw: Rewriter, frame: _Frame, q: ir.Value) -> _Frame:
    """The frame with rows that are heads in the queries' own layout as heads: each group of them shares its keys."""
    view = rw.view(q)
    if view is None or not frame.heads or not frame.queries:
        return frame
    place = len(view.axes) - 2  # of the rows in q, whatever their place in the scores
    head_axis = frame.heads[0].axis - (len(frame.own) - len(view.axes))
    own_queries = frame.own[frame.first[0]]
    sources = {part.axis for part in view.axes[head_axis]} if 0 <= head_axis < place else set()
    stride, pieces, groups = 1, [], []
    for part in view.axes[place][::-1]:
        pieces.append(own_queries[0]._replace(stride=stride, size=part.size))
        if part.axis in sources:
            groups.append(pieces[-1])
        stride *= part.size
    # Where the scores have all rows of q as one axis, the parts are those of q.
    queries = frame.queries if frame.queries != own_queries or not isinstance(stride, int) else tuple(pieces[::-1])
    found = tuple(part for part in queries if part in groups)
    if not found or len(found) < len(groups):
        return frame
    queries = tuple(part for part in queries if part not in found)
    return replace(frame, heads=(*frame.heads, *found), queries=queries)


def _queries_and_keys(rw: Rewriter, product: ir.Node, frame: _Frame) -> tuple[ir.Value, ir.Value]:
    """[..., queries, size] and [..., keys, size] of the first product."""
    left, right = product.inputs
    assert left is not None
    assert right is not None
    query_axis, key_axis = frame.first
    if query_axis < key_axis:
        return left, rw.op.Transpose(right, perm=_swapped(rw, right))
    return rw.op.Transpose(right, perm=_swapped(rw, right)), left


def _unscaled(rw: Rewriter, value: ir.Value) -> tuple[ir.Value, float]:
    """A value without a number that it is multiplied by, and that number."""
    view = rw.view(value)
    if view is None or not rw.only_use(view.root):
        return value, 1.0
    for node, x, number in rw.with_number(view.root, "Mul", "Div"):
        if not 0 < number < math.inf or not rw.same_shape(x, view.root):
            continue
        plain = rw.arranged(x, rw.axes(x), view.axes)
        if plain is not None:
            return rw.reshape(plain, rw.shape(value)), number if node.op_type == "Mul" else 1 / number
    return value, 1.0


def _operands(rw: Rewriter, frame: _Frame, q: ir.Value, k: ir.Value, v: ir.Value) -> list[ir.Value] | None:
    """Queries, keys and values as [batch, heads, length, size]; keys and values may have fewer heads."""
    own = frame.own
    query_axis, key_axis = (own[place] for place in frame.first)
    few = (frame.batch, frame.few_heads, frame.keys)
    q4 = _heads_first(rw, q, (*own[:-2], query_axis), (frame.batch, frame.heads, frame.queries), (0, 1))

    def shared(expand: Sequence[int]) -> list[ir.Value | None]:
        of_v = (*frame.lead, frame.keys)
        return [_heads_first(rw, k, (*own[:-2], key_axis), few, expand), _heads_first(rw, v, of_v, few, expand)]

    k4, v4 = shared((0,))
    if q4 is None or k4 is None or v4 is None:
        return None
    heads = [(rw.shape(value) or ())[1] for value in (q4, k4, v4)]
    if heads[1] != heads[2]:
        k4, v4 = shared((0, 1))
        assert k4 is not None
        assert v4 is not None
    elif heads[1] != heads[0]:  # one head for all, by broadcasting
        return [q4, k4, v4]
    (k_few, k_group), (v_few, v_group) = _ungrouped(rw, k4), _ungrouped(rw, v4)
    return [q4, k_few, v_few] if k_group == v_group else [q4, k4, v4]


def _heads_first(rw: Rewriter, value: ir.Value, axes: Axes, target: Axes, expand: Sequence[int]) -> ir.Value | None:
    """[..., length, size] as [batch, heads, length, size], broadcast along `expand`; its axes are given but the last.

    Where it broadcasts it has size 1.
    """
    shape = rw.shape(value)
    if shape is None or any(size == 0 for size in shape) or len(shape) > len(axes) + 1:
        return None
    size, axes = rw.axes(value, _OWN)[-1], axes[len(axes) + 1 - len(shape) :]
    if any(extent != 1 and not axis for extent, axis in zip(shape[:-1], axes, strict=True)):
        return None  # values of several batches for the same weights
    there = [axis if extent != 1 else () for extent, axis in zip(shape[:-1], axes, strict=True)]
    return rw.arranged(value, (*there, size), (*target, size), expand=expand)


def _ungrouped(rw: Rewriter, value: ir.Value) -> tuple[ir.Value, Any]:
    """Keys or values [batch, heads, length, size] before each head was repeated, and how often it was."""
    view = rw.view(value)
    expand = rw.producer(view.root, "Expand") if view is not None else None
    if view is None or expand is None or expand.inputs[0] is None or not view.axes[1]:
        return value, 1
    few, many = rw.shape(expand.inputs[0]), rw.shape(expand.outputs[0])
    if few is None or many is None or len(few) != len(many):
        return value, 1
    copied = [axis for axis, (one, size) in enumerate(zip(few, many, strict=True)) if str(one) != str(size)]
    *heads, last = view.axes[1]
    if copied != [last.axis] or (last.stride, last.size) != (1, many[last.axis]):
        return value, 1
    axes = (view.axes[0], tuple(heads), *view.axes[2:])
    if any(part.axis == last.axis for axis in axes for part in axis):
        return value, 1
    plain = rw.arranged(expand.inputs[0], rw.axes(expand.inputs[0]), axes)
    return (value, 1) if plain is None else (plain, last.size)
