"""What lies between the scores of attention and their softmax: numbers, a soft cap, biases, masks.

A mask is `Where(kept, scores, C)` with a C so low that logits do not reach it. It becomes

- nothing where all is kept
- is_causal where it is lower triangular from the top left, as a constant or by comparing indices
- a boolean mask where it is a constant that leaves each query a key
- else a mask that is 0, or the bias, and -0.7 times the largest number, so that a query without any key gives the mean
  of all values, as in JAX; for C = -inf such a query gives NaN, as in JAX

ONNX Runtime gives zeros for rows of false, of -inf and of the lowest number. So a bias stays as it is only where no
number is that low. The kernel refuses masks that broadcast along queries or keys: they are written out.

Declines for a bias behind a mask unless it is a constant of moderate numbers, for masks with different C, and in
float16 for masks that may leave a query without a key: adding scores to a half of large magnitude does not even them.
In bfloat16 the sum with a number such as -1e4 does, in the operator, which adds in float32, only that with -1e9 does:
declines for a bias that is known to go as low as the former, but for a constant that leaves each query a key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._half import SINGLE_RANGE
from ._mask_values import bounds, compares_indices
from ._pairs import LAYOUT

Axes = tuple[Any, ...]

_WIDENING = (ir.DataType.FLOAT16, ir.DataType.FLOAT)
_SAME_RANGE = (ir.DataType.BFLOAT16, ir.DataType.FLOAT)
# Logits stay above; -1e9 and lower is what people write, perhaps scaled down afterwards.
_LOW = {ir.DataType.FLOAT: -1e7, ir.DataType.FLOAT16: -6e4}
# Above this a sum with logits is not yet the lowest number, which ONNX Runtime takes for masked.
_LEAST = {ir.DataType.FLOAT: -3e38, ir.DataType.FLOAT16: -6e4}
_MASKED = -0.7 * float(np.finfo(np.float32).max)
# Scores added to numbers between are nearly alike when they are rounded to bfloat16, and differ in float32.
_EVENED = (-1e8, -512)
# A bias of this magnitude does not bring masked places back.
_MODERATE = 1e6


@dataclass(frozen=True)
class _Bias:
    """`scores + factor * value`."""

    value: ir.Value
    axes: Axes
    factor: float


@dataclass(frozen=True)
class Mask:
    """`Where(kept, scores, low)`; inverted, `Where(kept, low, scores)`."""

    kept: ir.Value
    axes: Axes
    inverted: bool
    low: float


@dataclass(frozen=True)
class Factor:
    """Numbers that the product is multiplied by, or divided by."""

    value: ir.Value
    axes: Axes
    op_type: str


@dataclass(frozen=True)
class Scores:
    """Logits: `softcap * tanh(scale * factors * product / softcap)`, then biases and masks in their order.

    Attributes:
        axes: the axes of the logits, in parts of those of the product.
        scale: a number.
        softcap: a number, or None.
        entries: biases and masks.
        factors: what else the product is multiplied by.
        wide: whether a product in float16 goes on in float32; for one in bfloat16 the operator is of float32 anyway.
        shifted: whether a number is added to all logits, which their softmax does not see.
    """

    axes: Axes
    scale: float = 1.0
    softcap: float | None = None
    entries: tuple[_Bias | Mask, ...] = ()
    factors: tuple[Factor, ...] = ()
    wide: bool = False
    shifted: bool = False


def read_scores(rw: Rewriter, axes: Axes, steps: Sequence[tuple[ir.Node, int]]) -> Scores | None:
    """What the steps (node, which operand the scores are) make of a product, None if the operator cannot say it."""
    scores: Scores | None = Scores(axes)
    for node, place in steps:
        assert scores is not None
        if node.op_type in LAYOUT:
            moved = rw.moved(node, scores.axes)
            scores = None if moved is None else replace(scores, axes=moved)
        elif node.op_type == "Tanh":
            unchanged = scores.softcap is None and not scores.entries and not scores.shifted
            scores = replace(scores, softcap=1.0) if unchanged else None
        elif node.op_type == "Cast" and _dtypes(node) != _SAME_RANGE:
            scores = None if scores.wide or _dtypes(node) != _WIDENING else replace(scores, wide=True)
        elif node.op_type == "Cast":
            continue
        elif node.op_type in ("Mul", "Div") and rw.scalar(node.inputs[1 - place]) is None:
            scores = _with_factor(rw, scores, node, place)
        elif node.op_type in ("Mul", "Div", "Neg"):
            scores = _multiplied(scores, _number(rw, node, place))
        else:
            scores = _with_entry(rw, scores, node, place)
        if scores is None:
            return None
    assert scores is not None
    if scores.wide and (scores.softcap is not None or any(isinstance(entry, _Bias) for entry in scores.entries)):
        return None
    if scores.softcap is None:
        return scores
    return replace(scores, scale=scores.scale * scores.softcap) if scores.softcap > 0 else None


def _dtypes(cast: ir.Node) -> tuple[ir.DataType | None, ir.DataType | None]:
    assert cast.inputs[0] is not None
    return cast.inputs[0].dtype, cast.outputs[0].dtype


def _number(rw: Rewriter, node: ir.Node, place: int) -> float:
    if node.op_type == "Neg":
        return -1.0
    number = rw.scalar(node.inputs[1 - place]) or math.nan
    return 1 / number if node.op_type == "Div" else number


def _multiplied(scores: Scores, number: float) -> Scores | None:
    if not math.isfinite(number) or number == 0 or (number < 0 and scores.entries):
        return None
    entries = tuple(
        replace(entry, factor=entry.factor * number)
        if isinstance(entry, _Bias)
        else replace(entry, low=entry.low * number)
        for entry in scores.entries
    )
    if scores.softcap is None:
        return replace(scores, scale=scores.scale * number, entries=entries)
    return replace(scores, softcap=scores.softcap * number, entries=entries)


def _operand_axes(rw: Rewriter, scores: Scores, operand: ir.Value | None) -> Axes | None:
    """The axes of what is broadcast to the scores."""
    shape = rw.shape(operand)
    if shape is None or len(shape) > len(scores.axes):
        return None
    own = scores.axes[len(scores.axes) - len(shape) :]
    return tuple(axis if size != 1 else () for size, axis in zip(shape, own, strict=True))


def _with_factor(rw: Rewriter, scores: Scores, node: ir.Node, place: int) -> Scores | None:
    operand = node.inputs[1 - place]
    axes, array = _operand_axes(rw, scores, operand), rw.constant(operand)
    if operand is None or axes is None or scores.softcap is not None or scores.entries or scores.wide:
        return None
    if operand.dtype not in SINGLE_RANGE or (array is not None and not np.isfinite(array).all()):
        return None
    return replace(scores, factors=(*scores.factors, Factor(operand, axes, node.op_type)))


def _with_entry(rw: Rewriter, scores: Scores, node: ir.Node, place: int) -> Scores | None:
    operand = node.inputs[0 if node.op_type == "Where" else 1 - place]
    axes = _operand_axes(rw, scores, operand)
    if operand is None or axes is None:
        return None
    if node.op_type == "Where":
        low = rw.scalar(node.inputs[3 - place])
        assert low is not None
        return replace(scores, entries=(*scores.entries, Mask(operand, axes, place == 2, low)))
    number, most = rw.scalar(operand), 1 if operand.dtype is ir.DataType.FLOAT16 else 1e3
    if number is not None and abs(number) <= most and not axes:
        return replace(scores, shifted=True)  # it cancels; a large one rounds the logits first
    factor = -1.0 if node.op_type == "Sub" else 1.0
    return replace(scores, entries=(*scores.entries, _Bias(operand, axes, factor)))


# -- The operator's mask -----------------------------------------------------------------------------------------------


def told(rw: Rewriter, scores: Scores, target: Axes, dtype: ir.DataType) -> tuple[ir.Value | None, bool] | None:
    """(mask [batch or 1, heads or 1, queries, keys] or None, is_causal) for the axes `target`; None to decline."""
    biases = [entry for entry in scores.entries if isinstance(entry, _Bias)]
    masks = [entry for entry in scores.entries if isinstance(entry, Mask)]
    if any(not mask.low <= _LOW[dtype] for mask in masks) or len({mask.low for mask in masks}) > 1:
        return None
    first = scores.entries.index(masks[0]) if masks else len(scores.entries)
    behind = [entry for entry in scores.entries[first:] if isinstance(entry, _Bias)]
    if not all(_is_moderate(rw, bias) for bias in behind) or any(_evens_scores(rw, bias, target) for bias in biases):
        return None
    kept = _constant_kept(rw, masks, target)
    if kept is not None and kept.all():
        masks, kept = [], None
    if not masks and len(biases) == 1 and (kept := _constant_bias_as_mask(rw, biases[0], target, dtype)) is not None:
        biases = []
        if kept.all():
            return None, False
    causal = _is_triangular(kept) if kept is not None else _compares_indices(rw, masks, target)
    bounded = _is_bounded(rw, biases, dtype)
    if bounded and (causal or (not masks and kept is None)):
        return (_written_out(rw, _sum(rw, biases, target, dtype), target) if biases else None), causal
    if bounded and kept is not None and kept.any(-1).all():
        if not biases:
            return _written_out(rw, rw.const(kept), target), False
        total = _sum(rw, biases, target, dtype)
        array = rw.constant(total)
        if array is None:
            masked = rw.op.Where(rw.const(kept), total, rw.const(-np.inf, total))
        else:
            masked = rw.const(np.where(kept, array, array.dtype.type(-np.inf)))
        return _written_out(rw, masked, target), False
    if dtype is not ir.DataType.FLOAT or (not bounded and masks and masks[0].low != -math.inf):
        return None
    key = ("attention mask", scores.entries, target)
    return rw.shared(key, lambda: _written_out(rw, _additive(rw, biases, masks, target, bounded), target)), False


def _is_moderate(rw: Rewriter, bias: _Bias) -> bool:
    array = rw.constant(bias.value)
    return array is not None and bool((np.abs(array * bias.factor) <= _MODERATE).all())


def _evens_scores(rw: Rewriter, bias: _Bias, target: Axes) -> bool:
    """Whether adding a bias may lose all scores of some query to rounding in bfloat16, but not in float32."""
    if bias.value.dtype is not ir.DataType.BFLOAT16:
        return False
    least = min(bias.factor * bound for bound in bounds(rw, bias.value))
    if not _EVENED[0] < least < _EVENED[1]:
        return False
    array = rw.constant(_arranged(rw, bias.value, bias.axes, target))
    return array is None or not bool((array * bias.factor > _EVENED[1]).any(-1).all())


def _arranged(rw: Rewriter, value: ir.Value, axes: Axes, target: Axes) -> ir.Value:
    result = rw.arranged(value, axes, target)
    assert result is not None, "the axes of the scores are those of the operator"
    return result


def _constant_kept(rw: Rewriter, masks: Sequence[Mask], target: Axes) -> Any:
    """What all masks leave, if they are constants."""
    kept: Any = None
    for mask in masks:
        array = rw.constant(_arranged(rw, mask.kept, mask.axes, target))
        if array is None:
            return None
        array = ~array if mask.inverted else array
        kept = array if kept is None else kept & array
    alike = kept is not None and (kept == kept[:1, :1]).all()
    return kept[:1, :1] if alike else kept  # one mask for all batches and heads


def _constant_bias_as_mask(rw: Rewriter, bias: _Bias, target: Axes, dtype: ir.DataType) -> Any:
    """Where a constant bias is zero, if it is so low everywhere else and leaves each query a key."""
    array = rw.constant(bias.value)
    if array is None:
        return None
    zero = array == 0
    if not (zero | (array * bias.factor <= _LOW[dtype])).all():
        return None
    kept = rw.constant(_arranged(rw, rw.const(zero), bias.axes, target))
    return kept if kept is not None and kept.any(-1).all() else None


def _is_triangular(kept: Any) -> bool:
    return kept.shape[:2] == (1, 1) and np.array_equal(kept, np.tril(np.ones(kept.shape, bool)))


def _compares_indices(rw: Rewriter, masks: Sequence[Mask], target: Axes) -> bool:
    if len(masks) != 1:
        return False
    (mask,) = masks
    return compares_indices(rw, mask.kept, mask.axes, inverted=mask.inverted, queries=target[2], keys=target[3])


def _is_bounded(rw: Rewriter, biases: Sequence[_Bias], dtype: ir.DataType) -> bool:
    """Whether no sum of the biases can be so low that ONNX Runtime takes it for masked."""
    least = 0.0
    for bias in biases:
        low, high = (bias.factor * bound for bound in bounds(rw, bias.value))
        least += min(low, high)
    return least > _LEAST[dtype]


def _sum(rw: Rewriter, biases: Sequence[_Bias], target: Axes, dtype: ir.DataType) -> ir.Value:
    total: ir.Value | None = None
    for bias in biases:
        one = rw.op.Cast(_arranged(rw, bias.value, bias.axes, target), to=dtype)
        array = rw.constant(one)
        if bias.factor != 1 and array is not None:
            one = rw.const(array * array.dtype.type(bias.factor))
        elif bias.factor != 1:
            one = rw.op.Mul(one, rw.const(bias.factor, one))
        total = one if total is None else rw.op.Add(total, one)
    assert total is not None
    return total


def _additive(rw: Rewriter, biases: Sequence[_Bias], masks: Sequence[Mask], target: Axes, bounded: bool) -> ir.Value:
    """A float32 mask that gives JAX's numbers for queries without any key."""

    def number(value: float) -> ir.Value:
        return rw.const(value, np.float32)

    total = _sum(rw, biases, target, ir.DataType.FLOAT) if biases else number(0)
    if masks:
        kept: ir.Value | None = None
        for mask in masks:
            one = _arranged(rw, mask.kept, mask.axes, target)
            one = rw.op.Not(one) if mask.inverted else one
            kept = one if kept is None else rw.op.And(kept, one)
        low = number(_MASKED)
        if masks[0].low == -math.inf:
            some = rw.op.ReduceMax(kept, rw.const([-1], np.int64), keepdims=1)
            low = rw.op.Where(some, number(-np.inf), number(np.nan)) if bounded else number(-np.inf)
        total = rw.op.Where(kept, total, low)
    if bounded:
        return total
    nothing = rw.op.IsInf(total, detect_positive=0)
    empty = rw.op.ReduceMin(nothing, rw.const([-1], np.int64), keepdims=1)
    low = rw.op.Where(empty, number(np.nan), number(-np.inf))
    return rw.op.Where(nothing, low, rw.op.Max(total, number(_MASKED)))  # type: ignore[no-any-return]


def _written_out(rw: Rewriter, mask: ir.Value, target: Axes) -> ir.Value:
    shape = rw.shape(mask)
    assert shape is not None
    lead = (1,) * max(0, 4 - len(shape)) + tuple(shape)
    lengths = [math.prod(part.size for part in axis) for axis in target[2:]]
    return rw.expand(mask, [*lead[:2], *lengths])
