"""Slices where they cost least: of concatenations, before products and changes of layout, several as one Split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ..graph._infer import Shape, same_shape
from ._plugin import plugin
from ._rewriter import Rewriter, Slice

# Elements that are copied in less time than a node takes.
_FEW = 1024


@plugin.rewrite("Split")
def _split_as_slices(rw: Rewriter, node: ir.Node) -> list[ir.Value] | None:
    """Split -> one Slice per part: one form for the rules below; a late rule makes it a Split again."""
    sizes = rw.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    shape = rw.shape(node.inputs[0])
    if sizes is None or shape is None:
        return None
    axis = rw.attr(node, "axis", 0) % len(shape)
    if not isinstance(shape[axis], int):
        return None
    stops = list(itertools.accumulate(int(size) for size in sizes))
    source = node.inputs[0]
    assert source is not None
    return [rw.cut(source, axis, start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


@plugin.rewrite("Slice")
def _slice_of_concat(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Slice(Concat(a, b)) -> a, or a part of it, where nothing of b is cut out."""
    cut = rw.slice_of(node.outputs[0])
    concat = rw.producer(cut.source, "Concat") if cut is not None else None
    if cut is None or concat is None or rw.attr(concat, "axis") % len(rw.shape(cut.source) or ()) != cut.axis:
        return None
    start = 0
    for value in concat.inputs:
        size = (rw.shape(value) or {cut.axis: None})[cut.axis]
        if value is None or not isinstance(size, int):
            return None
        if start <= cut.start and cut.stop <= start + size:
            return rw.cut(value, cut.axis, cut.start - start, cut.stop - start)
        start += size
    return None


@plugin.rewrite("Concat")
def _concat_of_slices(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Concat(Slice(x), Slice(x)) -> x, or one Slice, where each begins where the one before ends."""
    cuts = [cut for value in node.inputs if (cut := rw.slice_of(value)) is not None]
    if len(cuts) < len(node.inputs) or any(cut.axis != cuts[0].axis for cut in cuts):
        return None
    first, last = cuts[0], cuts[-1]
    if rw.attr(node, "axis") % len(rw.shape(first.source) or ()) != first.axis:
        return None
    if any(other.source is not one.source or other.start != one.stop for one, other in itertools.pairwise(cuts)):
        return None
    return rw.cut(first.source, first.axis, first.start, last.stop)


@plugin.rewrite("Slice")
def _slice_before_layout(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Slice(Transpose(x)) -> Transpose(Slice(x)), and the same for a Reshape that splits an axis.

    Only where every reader cuts a part of its own, so that nothing is computed twice.
    """
    cut = rw.slice_of(node.outputs[0])
    layout = rw.producer(cut.source, "Transpose", "Reshape") if cut is not None else None
    if cut is None or layout is None or layout.inputs[0] is None or rw.slices(cut.source) is None:
        return None
    x = layout.inputs[0]
    if layout.op_type == "Transpose":
        perm = rw.attr(layout, "perm")
        return rw.op.Transpose(rw.cut(x, perm[cut.axis], cut.start, cut.stop), perm=perm)
    shape, split = rw.shape(x), rw.shape(cut.source)
    if shape is None or split is None:
        return None
    axis = _split_axis(shape, split, cut.axis)
    if axis is None:
        return None
    inner = math.prod(split[axis + 1 : axis + 1 + len(split) - len(shape)])
    target = [*split[: cut.axis], cut.stop - cut.start, *split[cut.axis + 1 :]]
    return rw.reshape(rw.cut(x, axis, cut.start * inner, cut.stop * inner), target)


def _split_axis(shape: Shape, split: Shape, axis: int) -> int | None:
    """The axis of `shape` that becomes `axis` and the ones behind it in `split`, all others staying."""
    extra = len(split) - len(shape)
    if extra < 1 or axis >= len(shape):
        return None
    parts = split[axis : axis + extra + 1]
    if not all(isinstance(size, int) for size in (shape[axis], *parts)):
        return None
    stays = same_shape(shape[:axis], split[:axis]) and same_shape(shape[axis + 1 :], split[axis + extra + 1 :])
    return axis if stays else None


@plugin.rewrite("Slice")
def _slice_before_product(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Slice(Add(MatMul(x, W), b)) -> Add(MatMul(x, Slice(W)), Slice(b)) on the last axis, for weights W and b.

    A packed projection becomes its parts: copying parts out costs more than a larger product saves.
    """
    cut = rw.slice_of(node.outputs[0])
    if cut is None or cut.axis != len(rw.shape(cut.source) or ()) - 1:
        return None
    producer = rw.producer(cut.source, "Add", "MatMul")
    if producer is None or rw.slices(cut.source) is None:
        return None
    if producer.op_type == "MatMul":
        return _columns(rw, producer, cut)
    for one, other in rw.both_ways(producer):
        product, shape = rw.producer(one, "MatMul"), rw.shape(other)
        if product is None or one is None or other is None:
            continue
        if not shape or not rw.is_weight(other) or not rw.is_weight(product.inputs[1]):
            continue
        if shape[-1] != (rw.shape(cut.source) or ())[-1] or not _read_by(one, producer):
            continue
        if not same_shape(rw.shape(one), rw.shape(cut.source)):
            continue  # a product of one column, which the bias makes wider
        part = _columns(rw, product, cut) if rw.only_use(one) else None  # cost: of a rewrite of its own
        part = part or rw.cut(one, cut.axis, cut.start, cut.stop)
        return rw.op.Add(part, rw.cut(other, len(shape) - 1, cut.start, cut.stop))
    return None


def _columns(rw: Rewriter, product: ir.Node, cut: Slice) -> ir.Value | None:
    """The columns of a product with a weight that a slice takes, None for other products."""
    x, weight = product.inputs
    rank = len(rw.shape(weight) or ())
    if weight is None or not rw.is_weight(weight) or rank < 2:
        return None
    return rw.op.MatMul(x, rw.cut(weight, rank - 1, cut.start, cut.stop))


def _read_by(value: ir.Value, node: ir.Node) -> bool:
    """Whether a value is read by this node and by slices alone."""
    return all(user is node or user.op_type == "Slice" for user, _ in value.uses())


@plugin.rewrite("Slice", late=True)
def _slices_as_split(rw: Rewriter, node: ir.Node) -> dict[ir.Value, ir.Value] | None:
    """Slices that cut a value up -> Split: as many as there are, where others overlap.

    What no Slice has is copied too, so that this has to be little.
    """
    cut = rw.slice_of(node.outputs[0])
    if cut is None or rw.is_weight(cut.source):
        return None
    slices: dict[tuple[int, int], list[ir.Value]] = {}
    for user, index in cut.source.uses():
        one = rw.slice_of(user.outputs[0]) if index == 0 and user.graph is node.graph else None
        if one is not None and one.axis == cut.axis and one.start < one.stop:
            slices.setdefault((one.start, one.stop), []).append(one.value)
    size, length = rw.size(cut.source), (rw.shape(cut.source) or ())[cut.axis]
    chosen = _disjoint(slices) if size is not None and size <= _FEW else _without_gap(slices, length)
    if (cut.start, cut.stop) not in chosen or len(chosen) == 1:
        return None
    ends = sorted({0, *itertools.chain(*chosen), length})
    parts = list(itertools.pairwise(ends))
    sizes = rw.const([stop - start for start, stop in parts], np.int64)
    outputs = dict(zip(parts, rw.op.Split(cut.source, sizes, axis=cut.axis, outputs=len(parts)), strict=True))
    return {value: outputs[part] for part in chosen for value in slices[part]}


def _disjoint(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most of these parts that do not overlap."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(parts, key=lambda part: (part[1], part[0])):
        if not found or start >= found[-1][1]:
            found.append((start, stop))
    return found


def _without_gap(parts: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The most of these parts that make up the whole, each beginning where the one before ends; none if none do."""
    longest: dict[int, list[tuple[int, int]]] = {0: []}
    for start, stop in sorted(parts):
        if start in longest and len(longest[start]) >= len(longest.get(stop, ())):
            longest[stop] = [*longest[start], (start, stop)]
    return longest.get(size, [])
