"""The mask of the operator Attention for the biases and masks on the scores, and what the operator does not do as JAX.

Masks that are known become

- nothing where all is kept
- is_causal where they are lower triangular from the top left, as a constant or by comparing indices
- a boolean mask where they are a constant that leaves each query a key

Other masks become numbers that are added: 0, or the bias, for what is kept. What is hidden gets a number that absorbs
the scores and is lower than what is kept, so that a query without any key gives the mean of the values, as in JAX: -0.7
times the largest number, or the one that JAX has where a bias may be lower than that. ONNX Runtime gives 0 for a query
whose scores are all -inf or the lowest number, so a bias that may be the lowest number is made larger by its last bit.
The kernel refuses masks that broadcast along queries or keys: they are broadcast.

Where JAX gives NaN, the numbers here cost more than a tenth of the operator in two cases (one thread, 12 heads of 64):

    a query whose keys are all -inf     2 to 6% for one mask for all heads: NaN in its row of the mask
                                        4 to 30% for one of each head: the operator's 0, noted
    NaN or infinity in a hidden key     JAX replaces the score, the operator adds to it
                                        of a key hidden from all queries: -1 to 7% from 256 queries on, 12 to 50% for
                                        fewer: it is replaced by 0, or noted
                                        of others: 5 to 27%, without the operator; noted

`nonfinite="exact"` keeps attention decomposed.

Declines for a bias behind a mask unless it is a constant that what is hidden absorbs, for masks with different numbers,
and in float16 for masks that may leave a query without a key: adding scores to a half of large magnitude does not even
them. In bfloat16 the sum with a number such as -1e4 does, in the operator, which adds in float32, only that with -1e9
does: declines for a bias that is known to go as low as the former, but for a constant that leaves each query a key.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from ._mask_values import compares_indices
from ._scores import Axes, Bias, Mask, Scores

# Logits stay above; -1e9 and lower is what people write, perhaps scaled down afterwards.
_LOW = {ir.DataType.FLOAT: -1e7, ir.DataType.FLOAT16: -6e4}
# ONNX Runtime takes a sum with logits that is not above this for hidden.
_LOWEST = float(np.finfo(np.float32).min)
_LEAST = {ir.DataType.FLOAT: _LOWEST, ir.DataType.FLOAT16: -6e4}
# Hides a key, and is far from both.
_MASKED = 0.7 * _LOWEST
# The least number that is not taken for hidden, and the factor that makes it of the lowest number.
_ABOVE_LOWEST = np.nextafter(np.float32(_LOWEST), np.float32(0))
_LAST_BIT = np.nextafter(np.float32(1), np.float32(0))
# This absorbs logits and moderate biases as float32.
_ABSORBS = -1e30
# Scores added to numbers between are nearly alike when they are rounded to bfloat16, and differ in float32.
_EVENED = (-1e8, -512)
# From so many queries on, replacing keys takes less than a tenth of the operator.
_MANY_QUERIES = 256

HIDDEN_KEYS = "NaN or infinity in a key that the mask hides reaches queries"
_NO_KEY = "a query whose keys all have -inf as mask gives 0 instead of NaN"


@dataclass(frozen=True)
class OperatorMask:
    """The masks and biases as inputs and attributes of the operator.

    Attributes:
        mask: [batch or 1, heads or 1, queries, keys], or None.
        is_causal: the operator's attribute.
        clean_keys: bool [batch or 1, 1, keys, 1]: False for keys to replace by 0, or None.
        differences: how the operator differs from JAX for NaN or infinities.
    """

    mask: ir.Value | None = None
    is_causal: bool = False
    clean_keys: ir.Value | None = None
    differences: tuple[str, ...] = ()


def attention_mask(rw: Rewriter, scores: Scores, target: Axes, dtype: ir.DataType) -> OperatorMask | None:
    """The operator's mask for the axes [batch, heads, queries, keys] of `target`; None to decline."""
    biases = [entry for entry in scores.entries if isinstance(entry, Bias)]
    masks = [entry for entry in scores.entries if isinstance(entry, Mask)]
    if any(not mask.low <= _LOW[dtype] for mask in masks) or len({mask.low for mask in masks}) > 1:
        return rw.decline("masks put different numbers, or numbers that are not low, in place of scores")
    if any(_evens_scores(rw, bias, target) for bias in biases):
        return rw.decline("a bias is as low as -512 in bfloat16, where it evens scores: use -inf or -1e9")
    first = scores.entries.index(masks[0]) if masks else len(scores.entries)
    behind = [entry for entry in scores.entries[first:] if isinstance(entry, Bias)]
    kept = _constant_kept(rw, masks, target)
    if kept is not None and kept.all():
        masks, kept = [], None
    if not masks and len(biases) == 1 and (kept := _constant_bias_as_mask(rw, biases[0], target, dtype)) is not None:
        # JAX adds numbers there, too: what is not finite spreads likewise.
        return _of_constant(rw, [], kept, target, dtype)
    causal = _is_triangular(kept) if kept is not None else _compares_indices(rw, masks, target)
    seen = causal or not masks or (kept is not None and bool(kept.any(-1).all()))
    if not all(_is_absorbed(rw, bias, masks[0].low, seen) for bias in behind):
        return rw.decline("a bias is added behind a mask: add it to the scores before")
    clean = None if causal else _clean_keys(rw, masks, target)
    spread = masks if clean is None else [mask for mask in masks if _varies(mask, (*target[1], *target[2]))]
    hidden = (HIDDEN_KEYS,) if spread else ()
    least = _least(rw, biases)
    if seen and least > _LEAST[dtype]:
        if kept is not None:
            return replace(_of_constant(rw, biases, kept, target, dtype), clean_keys=clean, differences=hidden)
        total = _written_out(rw, _sum(rw, biases, target, dtype), target) if biases else None
        return OperatorMask(total, causal, differences=hidden)
    if dtype is not ir.DataType.FLOAT:
        return rw.decline("in float16 a mask or bias may leave a query without a key")
    if masks and _number_of_hidden(masks[0].low, least) is None:
        return rw.decline("a bias may be as low as the number that hides keys")
    heads = any(_varies(entry, target[1]) for entry in scores.entries)
    may_be_empty = least < _LOWEST or (bool(masks) and masks[0].low == -math.inf)
    key = ("attention mask", scores.entries, target)
    mask = rw.shared(key, lambda: _written_out(rw, _additive(rw, biases, masks, target, least, heads=heads), target))
    no_key = (_NO_KEY,) if may_be_empty and heads and rw.constant(mask) is None else ()
    return OperatorMask(mask, clean_keys=clean, differences=(*hidden, *no_key))


# -- What is known of masks and biases ---------------------------------------------------------------------------------


def _is_absorbed(rw: Rewriter, bias: Bias, low: float, seen: bool) -> bool:
    """Whether a bias behind a mask neither brings hidden keys back, nor tells those of a query without any other.

    Half the last bit of a float32 number is more than its 2^-25.
    """
    array = rw.constant(bias.value)
    if array is None:
        return False
    most = float(np.abs(array.astype(np.float64) * bias.factor).max(initial=0))
    if seen or math.isinf(low):
        return most < math.inf and most <= -0.1 * low
    return most < -low * 2.0**-26


def _evens_scores(rw: Rewriter, bias: Bias, target: Axes) -> bool:
    """Whether adding a bias may lose all scores of some query to rounding in bfloat16, but not in float32."""
    if bias.value.dtype is not ir.DataType.BFLOAT16:
        return False
    least = min(bias.factor * bound for bound in rw.range(bias.value)[:2])
    if not _EVENED[0] < least < _EVENED[1]:
        return False
    array = rw.constant(_arranged(rw, bias.value, bias.axes, target))
    return array is None or not bool((array * bias.factor > _EVENED[1]).any(-1).all())


def _constant_kept(rw: Rewriter, masks: Sequence[Mask], target: Axes) -> Any:
    """The keys that no mask hides, if all masks are constants."""
    kept: Any = None
    for mask in masks:
        array = rw.constant(_arranged(rw, mask.kept, mask.axes, target))
        if array is None:
            return None
        array = ~array if mask.inverted else array
        kept = array if kept is None else kept & array
    alike = kept is not None and (kept == kept[:1, :1]).all()
    return kept[:1, :1] if alike else kept  # one mask for all batches and heads


def _constant_bias_as_mask(rw: Rewriter, bias: Bias, target: Axes, dtype: ir.DataType) -> Any:
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


def _least(rw: Rewriter, biases: Sequence[Bias]) -> float:
    """The least sum of the biases."""
    pairs = [[bias.factor * bound for bound in rw.range(bias.value)[:2]] for bias in biases]
    return sum((min(pair) for pair in pairs), start=0.0)


def _varies(entry: Bias | Mask, axis: Any) -> bool:
    """Whether a bias or mask has some part of an axis of the operator."""
    wanted = {part.axis for part in axis}
    return any(part.axis in wanted for own in entry.axes for part in own)


def _number_of_hidden(low: float, least: float) -> float | None:
    """The number that hides a key in JAX's order with biases down to `least`, None if there is none."""
    if low == -math.inf:
        return low
    if least > low / 2:
        return _MASKED
    return max(low, float(_ABOVE_LOWEST)) if low <= _ABSORBS else None


# -- The operator's mask -----------------------------------------------------------------------------------------------


def _arranged(rw: Rewriter, value: ir.Value, axes: Axes, target: Axes) -> ir.Value:
    result = rw.arranged(value, axes, target)
    assert result is not None, "the axes of the scores are those of the operator"
    return result


def _of_constant(rw: Rewriter, biases: Sequence[Bias], kept: Any, target: Axes, dtype: ir.DataType) -> OperatorMask:
    """For a constant that leaves each query a key."""
    total = _sum(rw, biases, target, dtype) if biases else None
    if kept.all():
        return OperatorMask()
    if _is_triangular(kept):
        return OperatorMask(None if total is None else _written_out(rw, total, target), is_causal=True)
    if total is None:
        masked = rw.const(kept)
    elif (array := rw.constant(total)) is not None:
        masked = rw.const(np.where(kept, array, array.dtype.type(-np.inf)))
    else:
        masked = rw.op.Where(rw.const(kept), total, rw.const(-np.inf, total))
    return OperatorMask(_written_out(rw, masked, target))


def _sum(rw: Rewriter, biases: Sequence[Bias], target: Axes, dtype: ir.DataType) -> ir.Value:
    def scaled(bias: Bias) -> ir.Value:
        one = rw.op.Cast(_arranged(rw, bias.value, bias.axes, target), to=dtype)
        array = rw.constant(one)
        if bias.factor == 1:
            return one
        if array is None:
            return rw.op.Mul(one, rw.const(bias.factor, one))
        return rw.const(array * array.dtype.type(bias.factor))

    return functools.reduce(rw.op.Add, map(scaled, biases))


def _above_lowest(rw: Rewriter, total: ir.Value, least: float) -> ir.Value:
    """Float32 numbers down to `least` with the next one instead of the lowest; -inf stays."""
    if least > _LOWEST:
        return total
    array = rw.constant(total)
    if array is not None:
        return rw.const(np.where(array == np.float32(_LOWEST), _ABOVE_LOWEST, array))
    if least == _LOWEST:
        return rw.op.Max(total, rw.const(_ABOVE_LOWEST))
    return rw.op.Mul(total, rw.const(_LAST_BIT))


def _additive(
    rw: Rewriter, biases: Sequence[Bias], masks: Sequence[Mask], target: Axes, least: float, *, heads: bool
) -> ir.Value:
    """A float32 mask that gives JAX's numbers for queries without any key; NaN but for masks of each head."""
    total = rw.const(0, np.float32)
    if biases:
        total = _above_lowest(rw, _sum(rw, biases, target, ir.DataType.FLOAT), least)
    if masks:
        number = _number_of_hidden(masks[0].low, least)
        assert number is not None
        kept = _all_kept(rw, masks, target)
        low = rw.const(number, np.float32)
        if number == -math.inf and least >= _LOWEST and not heads:
            some = rw.op.ReduceMax(kept, rw.const([-1], np.int64), keepdims=1)
            low = rw.op.Where(some, low, rw.const(np.nan, np.float32))
        total = rw.op.Where(kept, total, low)
    return _with_nan_rows(rw, total) if least < _LOWEST and not heads else total


def _with_nan_rows(rw: Rewriter, total: ir.Value) -> ir.Value:
    """A mask with NaN for queries whose keys are all -inf."""
    array = rw.constant(total)
    if array is not None:
        nothing = (array == -np.inf).all(-1, keepdims=True)
        return rw.const(np.where(nothing, array.dtype.type(np.nan), array))
    nothing = rw.op.IsInf(total, detect_positive=0)
    empty = rw.op.ReduceMin(nothing, rw.const([-1], np.int64), keepdims=1)
    row = rw.op.Where(empty, rw.const(np.nan, np.float32), rw.const(0, np.float32))
    return rw.op.Add(total, row)


def _all_kept(rw: Rewriter, masks: Sequence[Mask], target: Axes) -> ir.Value:
    def keeps(mask: Mask) -> ir.Value:
        one = _arranged(rw, mask.kept, mask.axes, target)
        return rw.op.Not(one) if mask.inverted else one

    return functools.reduce(rw.op.And, map(keeps, masks))


def _clean_keys(rw: Rewriter, masks: Sequence[Mask], target: Axes) -> ir.Value | None:
    """Which keys the masks leave to any query, if they hide some from all of them and replacing these is cheap."""
    batch, heads, queries, keys = target
    sizes = [part.size for part in queries]
    if all(isinstance(size, int) for size in sizes) and math.prod(sizes) < _MANY_QUERIES:
        return None
    shared = [mask for mask in masks if not _varies(mask, heads)]
    if not shared:
        return None
    clean = rw.shared(("attention keys", *shared, batch, queries, keys), lambda: _any_kept(rw, shared, target))
    array = rw.constant(clean)
    return None if array is not None and array.all() else clean


def _any_kept(rw: Rewriter, masks: Sequence[Mask], target: Axes) -> ir.Value:
    """Whether masks that are the same for all heads leave a key to any query: [batch or 1, 1, keys, 1]."""
    batch, _, queries, keys = target
    if not any(_varies(mask, queries) for mask in masks):
        return _all_kept(rw, masks, (batch, (), keys, ()))
    kept = _all_kept(rw, masks, (batch, (), queries, keys))
    some = rw.op.ReduceMax(kept, rw.const([-2], np.int64), keepdims=1)
    return rw.op.Transpose(some, perm=(0, 1, 3, 2))


def _written_out(rw: Rewriter, mask: ir.Value, target: Axes) -> ir.Value:
    shape = rw.shape(mask)
    assert shape is not None
    lead = (1,) * max(0, 4 - len(shape)) + tuple(shape)
    lengths = [math.prod(part.size for part in axis) for axis in target[2:]]
    return rw.expand(mask, [*lead[:2], *lengths])
