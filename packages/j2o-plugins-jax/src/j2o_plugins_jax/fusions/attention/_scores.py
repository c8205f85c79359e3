"""Reads what lies between the scores of attention and their softmax: numbers, a soft cap, biases, masks.

A mask is `Where(kept, scores, C)` with a C so low that logits do not reach it. `kept` may be And of several masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits

from .._half import SINGLE_RANGE

Axes = tuple[Any, ...]

_WIDENING = (ir.DataType.FLOAT16, ir.DataType.FLOAT)
_SAME_RANGE = (ir.DataType.BFLOAT16, ir.DataType.FLOAT)


@dataclass(frozen=True)
class Bias:
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
    entries: tuple[Bias | Mask, ...] = ()
    factors: tuple[Factor, ...] = ()
    wide: bool = False
    shifted: bool = False


def read_scores(rw: Rewriter, axes: Axes, steps: Sequence[tuple[ir.Node, int]]) -> Scores | None:
    """The scores after steps (node, position of the scores in its operands), None if the operator has no such step."""
    scores: Scores | None = Scores(axes)
    for node, place in steps:
        assert scores is not None
        if node.op_type in traits.LAYOUT:
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
    if scores.wide and (scores.softcap is not None or any(isinstance(entry, Bias) for entry in scores.entries)):
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


def _multiplied(scores: Scores, number: float) -> Scores:
    entries = tuple(
        replace(entry, factor=entry.factor * number)
        if isinstance(entry, Bias)
        else replace(entry, low=entry.low * number)
        for entry in scores.entries
    )
    if scores.softcap is None:
        return replace(scores, scale=scores.scale * number, entries=entries)
    return replace(scores, softcap=scores.softcap * number, entries=entries)


def _operand_axes(rw: Rewriter, scores: Scores, operand: ir.Value | None) -> Axes | None:
    """The axes of what is broadcast to the scores."""
    shape = rw.shape(operand)
    if shape is None:
        return None
    own = scores.axes[len(scores.axes) - len(shape) :]
    return tuple(axis if size != 1 else () for size, axis in zip(shape, own, strict=True))


def _with_factor(rw: Rewriter, scores: Scores, node: ir.Node, place: int) -> Scores | None:
    operand = node.inputs[1 - place]
    axes, array = _operand_axes(rw, scores, operand), rw.constant(operand)
    if operand is None or axes is None or scores.softcap is not None or scores.entries or scores.wide:
        return None
    if operand.dtype not in SINGLE_RANGE:
        return None
    with np.errstate(all="ignore"):
        numbers = 0 if array is None else array if node.op_type == "Mul" else 1 / array
    if not np.isfinite(numbers).all():
        return None
    return replace(scores, factors=(*scores.factors, Factor(operand, axes, node.op_type)))


def _with_entry(rw: Rewriter, scores: Scores, node: ir.Node, place: int) -> Scores | None:
    operand = _not_expanded(rw, node.inputs[0 if node.op_type == "Where" else 1 - place])
    axes = _operand_axes(rw, scores, operand)
    if operand is None or axes is None:
        return None
    if node.op_type == "Where":
        low = rw.scalar(node.inputs[3 - place])
        assert low is not None
        masks = _separate(rw, scores, Mask(operand, axes, place == 2, low))
        return None if masks is None else replace(scores, entries=(*scores.entries, *masks))
    number, most = rw.scalar(operand), 1 if operand.dtype is ir.DataType.FLOAT16 else 1e3
    if number is not None and abs(number) <= most and not axes:
        return replace(scores, shifted=True)  # it cancels; a large one rounds the logits first
    factor = -1.0 if node.op_type == "Sub" else 1.0
    return replace(scores, entries=(*scores.entries, Bias(operand, axes, factor)))


def _separate(rw: Rewriter, scores: Scores, mask: Mask) -> list[Mask] | None:
    """The masks that And, or Or of an inverted one, makes a mask of; without those that keep every key."""
    array = rw.constant(mask.kept)
    if array is not None and array.size and (array != mask.inverted).all():
        return []
    node = rw.producer(mask.kept, "Not", "Or" if mask.inverted else "And")
    if node is None:
        return [mask]
    found: list[Mask] = []
    for operand in (_not_expanded(rw, value) for value in node.inputs):
        axes = _operand_axes(rw, scores, operand)
        if operand is None or axes is None:
            return None
        part = replace(mask, kept=operand, axes=axes, inverted=mask.inverted ^ (node.op_type == "Not"))
        parts = _separate(rw, scores, part)
        if parts is None:
            return None
        found += parts
    return found


def _not_expanded(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """A value before it was broadcast, with size 1 along those axes: as a mask for groups of heads is in JAX."""
    array = rw.constant(value)
    if value is not None and array is not None:
        alike = [axis for axis, size in enumerate(array.shape) if size > 1 and (array == array.take([0], axis)).all()]
        thin = tuple(slice(1) if axis in alike else slice(None) for axis in range(array.ndim))
        return rw.derived(value, f"first along {alike}", lambda array: array[thin]) if alike else value
    view = rw.view(value) if value is not None else None
    expand = rw.producer(view.root, "Expand") if view is not None else None
    if view is None or expand is None or expand.inputs[0] is None:
        return value
    few, many = rw.shape(expand.inputs[0]), rw.shape(view.root)
    if few is None or many is None:
        return value
    first = len(many) - len(few)
    sizes = zip(((1,) * first + tuple(few)), many, strict=True)
    copied = {axis for axis, (one, size) in enumerate(sizes) if str(one) != str(size)}
    axes = [tuple(part for part in axis if part.axis not in copied) for axis in view.axes]
    if any(left and left != axis for left, axis in zip(axes, view.axes, strict=True)):
        return value  # an axis that was made of a broadcast one and others
    plain = rw.arranged(expand.inputs[0], rw.axes(expand.inputs[0], first), tuple(axes))
    return value if plain is None else _not_expanded(rw, plain)
