"""Clean-ups that hold for any graph: means as means, biases inside, slices where they cost least."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._infer import Shape, same_dimension, same_shape
from ..plugin._plugin import Plugin
from ._rewriter import Rewriter

plugin = Plugin("core")

# How often a change of layout moves below a pointwise operator: what it may cancel with is near, and time stays linear.
_STEPS, _MOST_STEPS = "j2o_steps", 4


@plugin.rewrite("Reshape", "Transpose", "Cast", "Expand", "Squeeze", "Unsqueeze")
def _merge_layout(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Reshape(Reshape(x)) -> Reshape(x), and what else the builder would have spared had it seen the node now."""
    if node.op_type == "Reshape" and node.inputs[0] is not None and rw.same_shape(node.inputs[0], node.outputs[0]):
        return node.inputs[0]
    attrs = rw.attrs(node)
    return rw.op.simpler(node.op_type, node.inputs, attrs)


@plugin.rewrite(*traits.LAYOUT)
def _shortest_layout(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """A chain of several Reshape and Transpose -> Reshape, Transpose, Reshape or less."""
    readers = [user for user, _ in node.outputs[0].uses()]
    if len(readers) == 1 and readers[0].op_type in traits.LAYOUT:
        return None  # the last of the chain is the one to ask
    view = rw.view(node.outputs[0])
    if view is None or len(view.nodes) < 3 or not all(rw.only_use(inner.outputs[0]) for inner in view.nodes[:-1]):
        return None
    axes = rw.axes(view.root)
    if view.changes(axes) >= len(view.nodes):
        return None
    result = rw.arranged(view.root, axes, view.axes)
    return None if result is None else rw.reshape(result, rw.shape(node.outputs[0]))


@plugin.rewrite(*traits.LAYOUT)
def _layouts_around_cast(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Squeeze(Cast(Unsqueeze(x))) -> Cast(x): changes of layout on both sides of a Cast merge, if they become one."""
    cast = rw.producer(node.inputs[0], "Cast")
    inner = rw.producer(cast.inputs[0], *traits.LAYOUT) if cast is not None else None
    if cast is None or inner is None or not all(rw.only_use(step.outputs[0]) for step in (cast, inner)):
        return None
    merged = rw.op.simpler(node.op_type, [inner.outputs[0], *node.inputs[1:]], rw.attrs(node))
    return None if merged is None else rw.op.Cast(merged, **rw.attrs(cast))


@plugin.rewrite("Expand")
def _expand_once(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Expand(Unsqueeze(Expand(x))) -> Expand(Unsqueeze(x))."""
    layout = rw.producer(node.inputs[0], "Reshape", "Unsqueeze")
    inner = rw.producer(layout.inputs[0] if layout is not None else node.inputs[0], "Expand")
    if inner is None or inner.inputs[0] is None:
        return None
    before, after, own = (rw.shape(value) for value in (inner.outputs[0], node.inputs[0], inner.inputs[0]))
    kept, result = _kept_axes(after, before) if before and after else None, rw.shape(node.outputs[0])
    if kept is None or after is None or own is None or result is None:
        return None
    sizes = [1] * len(after)
    for axis, size in zip(kept[len(kept) - len(own) :], own, strict=True):
        sizes[axis] = size
    return rw.expand(rw.reshape(inner.inputs[0], sizes), result)


@plugin.rewrite("Cast")
def _cast_before_expand(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Cast(Expand(x)) -> Expand(Cast(x)): fewer numbers."""
    expand = rw.producer(node.inputs[0], "Expand")
    if expand is None or not rw.only_use(expand.outputs[0]):
        return None
    small = rw.op.Cast(expand.inputs[0], **rw.attrs(node))
    return rw.op.Expand(small, expand.inputs[1])  # type: ignore[no-any-return]


@plugin.rewrite("Reshape", "Unsqueeze")
def _keep_axes(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Unsqueeze(ReduceX(x, axes, keepdims=0), axes) -> ReduceX(x, axes, keepdims=1)."""
    reduction = rw.producer(node.inputs[0], *traits.REDUCTIONS)
    if reduction is None or rw.attr(reduction, "keepdims", 1):
        return None
    attrs = rw.attrs(reduction)
    kept = rw.op(reduction.op_type, *reduction.inputs, **{**attrs, "keepdims": 1})
    return kept if rw.same_shape(kept, node.outputs[0]) else None


@plugin.rewrite("Reshape", "Unsqueeze")
def _reduce_transposed(rw: Rewriter, node: ir.Node) -> dict[ir.Value, ir.Value] | None:
    """Unsqueeze(ReduceX(x)) -> ReduceX(Transpose(x), keepdims=1), where x is transposed and that is how it broadcasts.

    So a norm along one axis under `vmap` is one along the last axis.
    """
    reduction, result = rw.producer(node.inputs[0], *traits.REDUCTIONS), rw.shape(node.outputs[0])
    if reduction is None or result is None or not rw.only_use(reduction.outputs[0]) or len(reduction.inputs) < 2:
        return None
    x, axes = reduction.inputs[0], rw.constant(reduction.inputs[1])
    shape = rw.shape(x)
    if x is None or shape is None or axes is None or rw.attr(reduction, "keepdims", 1) or len(shape) != len(result):
        return None
    reduced = {int(axis) % len(shape) for axis in axes}
    for transpose, _ in x.uses():
        perm = list(rw.attr(transpose, "perm", ())) if transpose.op_type == "Transpose" else []
        kept = [axis for axis in perm if axis not in reduced]
        wanted = tuple(1 if axis in reduced else shape[axis] for axis in perm)
        if perm and kept == sorted(kept) and same_shape(wanted, result):
            places = [place for place, axis in enumerate(perm) if axis in reduced]
            attrs = {**rw.attrs(reduction), "keepdims": 1}
            reduced_last = rw.op(reduction.op_type, transpose.outputs[0], rw.const(places, np.int64), **attrs)
            return {node.outputs[0]: reduced_last}
    return None


@plugin.rewrite("Div", "Mul")
def _mean(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Div(ReduceSum(x, axes), n) -> ReduceMean(x, axes), for floats and n elements; Unsqueeze may come between."""
    pairs = [(node.inputs[0], node.inputs[1])]
    if node.op_type == "Mul":
        pairs.append((node.inputs[1], node.inputs[0]))
    for total, divisor in pairs:
        layout = rw.producer(total, *traits.RESHAPES)
        layout = layout if layout is not None and rw.only_use(layout.outputs[0]) else None
        reduction = rw.producer(layout.inputs[0] if layout is not None else total, "ReduceSum")
        number = rw.scalar(divisor)
        if reduction is None or number is None or divisor is None or total is None:
            continue
        if total.dtype is None or not total.dtype.is_floating_point() or not rw.same_shape(total, node.outputs[0]):
            continue
        if total.dtype.itemsize < 2:
            continue  # a sum in float8 soon is NaN where the mean is none
        shape, axes = (
            rw.shape(reduction.inputs[0]),
            rw.constant(reduction.inputs[1]) if len(reduction.inputs) > 1 else None,
        )
        if shape is None or axes is None or len(axes) == 0:
            continue
        sizes = [shape[int(axis)] for axis in axes]
        if not all(isinstance(size, int) for size in sizes) or not math.prod(sizes):
            continue
        count = float(math.prod(sizes))
        expected = count if node.op_type == "Div" else float(np.asarray(1 / count, rw.dtype(divisor)))
        if number == expected:
            mean = rw.op.ReduceMean(*reduction.inputs, **rw.attrs(reduction))
            return mean if layout is None else rw.reshape(mean, rw.shape(total))
    return None


@plugin.rewrite("Add")
def _bias_of_convolution(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Add(Conv(x, w), b) -> Conv(x, w, b) for a constant b with one number per channel."""
    for conv, bias in [*rw.operands(node, "Conv"), *rw.operands(node, "ConvTranspose")]:
        array, shape = rw.constant(bias), rw.shape(conv.outputs[0])
        if array is None or shape is None or len(conv.inputs) > 2 or not rw.only_use(conv.outputs[0]):
            continue
        channels = shape[1]
        per_channel = [1] * len(shape)
        per_channel[1] = channels
        if list((1,) * (len(shape) - array.ndim) + array.shape) != per_channel:
            continue
        attrs = rw.attrs(conv)
        return rw.op(conv.op_type, *conv.inputs, rw.reshape(bias, [channels]), **attrs)  # type: ignore[no-any-return]
    return None


@plugin.rewrite("Reshape", "Squeeze")
def _drop_ones_before_transpose(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Squeeze(Transpose(x)) -> Transpose(Reshape(x)): layout changes come together and merge."""
    transpose = rw.producer(node.inputs[0], "Transpose")
    if transpose is None or not rw.only_use(transpose.outputs[0]):
        return None
    shape, wanted = rw.shape(transpose.outputs[0]), rw.shape(node.outputs[0])
    if shape is None or wanted is None or len(wanted) >= len(shape):
        return None
    kept = _kept_axes(shape, wanted)
    if kept is None:
        return None
    perm = rw.attr(transpose, "perm")
    source_axes = sorted(perm[axis] for axis in kept)
    source = rw.shape(transpose.inputs[0])
    if source is None:
        return None
    assert transpose.inputs[0] is not None
    inner = rw.reshape(transpose.inputs[0], [source[axis] for axis in source_axes])
    return rw.op.Transpose(inner, perm=[source_axes.index(perm[axis]) for axis in kept])  # type: ignore[no-any-return]


def _kept_axes(shape: Shape, wanted: Shape) -> list[int] | None:
    """The axes that stay if `wanted` is `shape` without some axes of size 1; of several ones, the first stay."""
    kept: list[int] = []
    for axis, size in enumerate(shape):
        if len(kept) < len(wanted) and same_dimension(size, wanted[len(kept)]):
            kept.append(axis)
        elif not same_dimension(size, 1):
            return None
    return kept if len(kept) == len(wanted) else None


@plugin.rewrite(*traits.MAPS, "Mul", "Div", "Add", "Sub", "Pow", "Max", "Min", "Softmax", "LogSoftmax")
def _layout_below_pointwise(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Mul(Reshape(x), 2) -> Reshape(Mul(x, 2)), also for Transpose: changes of layout come together and cancel."""
    places = [
        index
        for index, value in enumerate(node.inputs)
        if value is None or rw.scalar(value) is None or not _is_scalar(rw, value)
    ]
    if len(places) != 1:
        return None
    moved = node.inputs[places[0]]
    layout = rw.producer(moved, "Reshape", "Transpose")
    if moved is None or layout is None or layout.inputs[0] is None or not rw.only_use(moved):
        return None
    steps = moved.meta.get(_STEPS, 0) + 1
    if steps > _MOST_STEPS:
        return None
    x = layout.inputs[0]
    before, after = rw.shape(x), rw.shape(moved)
    if before is None or after is None:
        return None
    attrs = rw.attrs(node)
    if node.op_type in ("Softmax", "LogSoftmax"):
        keeps_last = before and after and same_dimension(before[-1], after[-1]) and layout.op_type == "Reshape"
        if not keeps_last or rw.attr(node, "axis", -1) not in (-1, len(after) - 1):
            return None
        attrs["axis"] = -1
    inputs = [x if index == places[0] else value for index, value in enumerate(node.inputs)]
    return _again(rw, layout, rw.op(node.op_type, *inputs, **attrs), steps)


@plugin.rewrite("Mul")
def _layout_below_gate(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Mul(Transpose(x), Sigmoid(Transpose(x))) -> Transpose(Mul(x, Sigmoid(x))), and other functions of one value."""
    for moved, gate in rw.both_ways(node):
        function, layout = rw.producer(gate, *traits.MAPS), rw.producer(moved, "Reshape", "Transpose")
        if function is None or layout is None or moved is None or gate is None or function.inputs[0] is not moved:
            continue
        steps, x = moved.meta.get(_STEPS, 0) + 1, layout.inputs[0]
        readers = {reader for reader, _ in moved.uses()}
        if x is None or steps > _MOST_STEPS or readers != {node, function} or moved.is_graph_output():
            continue
        if not rw.only_use(gate) or any(rw.scalar(value) is None for value in function.inputs[1:]):
            continue
        value = rw.op(function.op_type, x, *function.inputs[1:], **rw.attrs(function))
        return _again(rw, layout, rw.op.Mul(x, value), steps)
    return None


def _again(rw: Rewriter, layout: ir.Node, value: ir.Value, steps: int) -> ir.Value:
    """A change of layout once more, behind the operator that read it."""
    if layout.op_type == "Transpose":
        result = rw.op.Transpose(value, perm=rw.attr(layout, "perm"))
    else:
        shape = rw.shape(layout.outputs[0])
        assert shape is not None
        result = rw.reshape(value, shape)
    result.meta[_STEPS] = steps
    return result  # type: ignore[no-any-return]


def _is_scalar(rw: Rewriter, value: ir.Value) -> bool:
    return rw.shape(value) == ()


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
    return [
        source if (start, stop) == (0, shape[axis]) else rw.cut(source, axis, start, stop)
        for start, stop in zip([0, *stops], stops, strict=False)
    ]


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
            first, last = cut.start - start, cut.stop - start
            return value if last - first == size else rw.cut(value, cut.axis, first, last)
        start += size
    return None


@plugin.rewrite("Concat")
def _concat_of_slices(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Concat(Slice(x), Slice(x)) -> x, or one Slice, where each begins where the one before ends."""
    cuts = [rw.slice_of(value) for value in node.inputs]
    first, last = cuts[0], cuts[-1]
    if first is None or last is None or any(cut is None or cut.axis != first.axis for cut in cuts):
        return None
    axis, shape = first.axis, rw.shape(first.source) or ()
    if rw.attr(node, "axis") % len(shape) != axis:
        return None
    for one, other in itertools.pairwise(cuts):
        assert one is not None
        assert other is not None
        if other.source is not one.source or other.start != one.stop:
            return None
    whole = (first.start, last.stop) == (0, shape[axis])
    return first.source if whole else rw.cut(first.source, axis, first.start, last.stop)


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
        return rw.op.Transpose(rw.cut(x, perm[cut.axis], cut.start, cut.stop), perm=perm)  # type: ignore[no-any-return]
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
    if not all(isinstance(size, int) for size in (shape[axis], *parts)) or shape[axis] != math.prod(parts):
        return None
    stays = same_shape(shape[:axis], split[:axis]) and same_shape(shape[axis + 1 :], split[axis + extra + 1 :])
    return axis if stays else None


@plugin.rewrite("Slice")
def _slice_before_product(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Slice(Add(MatMul(x, W), b)) -> Add(MatMul(x, Slice(W)), Slice(b)) on the last axis, for constant W and b.

    A packed projection becomes its parts: copying parts out costs more than a larger product saves.
    """
    cut = rw.slice_of(node.outputs[0])
    if cut is None or cut.axis != len(rw.shape(cut.source) or ()) - 1 or rw.slices(cut.source) is None:
        return None
    producer = rw.producer(cut.source, "Add", "MatMul")
    if producer is None:
        return None
    left, right = producer.inputs
    assert left is not None
    assert right is not None
    if producer.op_type == "MatMul":
        array = rw.constant(right)
        if array is None or array.ndim < 2:
            return None
        return rw.op.MatMul(left, rw.cut(right, array.ndim - 1, cut.start, cut.stop))  # type: ignore[no-any-return]
    for one, other in ((left, right), (right, left)):
        product, array = rw.producer(one, "MatMul"), rw.constant(other)
        if product is None or array is None or array.ndim == 0 or rw.constant(product.inputs[1]) is None:
            continue
        if array.shape[-1] != (rw.shape(cut.source) or ())[-1] or not _read_by(one, producer):
            continue
        part = rw.cut(one, cut.axis, cut.start, cut.stop)
        return rw.op.Add(part, rw.cut(other, array.ndim - 1, cut.start, cut.stop))  # type: ignore[no-any-return]
    return None


def _read_by(value: ir.Value, node: ir.Node) -> bool:
    """Whether a value is read by this node and by slices alone."""
    return all(user is node or user.op_type == "Slice" for user, _ in value.uses())


@plugin.rewrite("Slice", late=True)
def _slices_as_split(rw: Rewriter, node: ir.Node) -> dict[ir.Value, ir.Value] | None:
    """Slices that cut a value up without a gap -> Split."""
    cut = rw.slice_of(node.outputs[0])
    parts = rw.slices(cut.source, other_readers=True) if cut is not None else None
    if cut is None or parts is None or len(parts) < 2:
        return None
    size = (rw.shape(cut.source) or ())[cut.axis]
    stops = [0, *(part.stop for part in parts)]
    if [part.start for part in parts] != stops[:-1] or stops[-1] != size:
        return None
    sizes = rw.const([part.stop - part.start for part in parts], np.int64)
    outputs = rw.op.Split(cut.source, sizes, axis=cut.axis, outputs=len(parts))
    return {part.value: output for part, output in zip(parts, outputs, strict=True)}
