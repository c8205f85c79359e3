"""Changes of layout come together, cancel, and move to where they cost least."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..graph import traits
from ..graph._builder import SIMPLER
from ..graph._infer import Shape, same_dimension, same_shape
from ._plugin import plugin
from ._rewriter import Rewriter

# How often a change of layout moves below a pointwise operator: what it may cancel with is near, and time stays linear.
_STEPS, _MOST_STEPS = "j2o_steps", 4


@plugin.rewrite(*SIMPLER, late=True)  # the late rules bring layouts and casts together, too
@plugin.rewrite("Cast", "Expand", "Gather", "Where", *traits.LAYOUT)
def _simpler(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Reshape(Reshape(x)) -> Reshape(x), and what else the builder would have spared had it seen the node now."""
    if node.op_type == "Reshape" and node.inputs[0] is not None and rw.same_shape(node.inputs[0], node.outputs[0]):
        return node.inputs[0]
    return rw.op.simpler(node.op_type, node.inputs, rw.attrs(node))


@plugin.rewrite(*traits.LAYOUT)
def _shortest_layout(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """A chain of several Reshape and Transpose -> Reshape, Transpose, Reshape or less."""
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
    inner = rw.producer(rw.before(node.inputs[0], "Reshape", "Unsqueeze"), "Expand")
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
    return rw.op.Expand(small, expand.inputs[1])


@plugin.rewrite("Reshape", "Unsqueeze")
def _keep_axes(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Unsqueeze(ReduceX(x, axes, keepdims=0), axes) -> ReduceX(x, axes, keepdims=1)."""
    reduction = rw.producer(node.inputs[0], *traits.REDUCTIONS)
    if reduction is None:
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
    if reduction is None or result is None or not rw.only_use(reduction.outputs[0]):
        return None
    x, reduced = reduction.inputs[0], rw.reduced_axes(reduction)
    shape = rw.shape(x)
    if x is None or shape is None or reduced is None:
        return None
    for transpose, _ in x.uses():
        perm = list(rw.attr(transpose, "perm")) if transpose.op_type == "Transpose" else []
        kept = [axis for axis in perm if axis not in reduced]
        wanted = tuple(1 if axis in reduced else shape[axis] for axis in perm)
        if perm and kept == sorted(kept) and same_shape(wanted, result):
            places = [place for place, axis in enumerate(perm) if axis in reduced]
            attrs = {**rw.attrs(reduction), "keepdims": 1}
            reduced_last = rw.op(reduction.op_type, transpose.outputs[0], rw.const(places, np.int64), **attrs)
            return {node.outputs[0]: reduced_last}
    return None


@plugin.rewrite("Reshape", "Squeeze")
def _drop_ones_before_transpose(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Squeeze(Transpose(x)) -> Transpose(Reshape(x)): layout changes come together and merge."""
    transpose = rw.producer(node.inputs[0], "Transpose")
    if transpose is None or not rw.only_use(transpose.outputs[0]):
        return None
    x, perm = transpose.inputs[0], rw.attr(transpose, "perm")
    source, shape, wanted = (rw.shape(value) for value in (x, transpose.outputs[0], node.outputs[0]))
    kept = _kept_axes(shape, wanted) if shape is not None and wanted is not None else None
    if x is None or source is None or kept is None:
        return None
    source_axes = sorted(perm[axis] for axis in kept)
    inner = rw.reshape(x, [source[axis] for axis in source_axes])
    return rw.op.Transpose(inner, perm=[source_axes.index(perm[axis]) for axis in kept])


def _kept_axes(shape: Shape, wanted: Shape) -> list[int] | None:
    """The axes that stay if `wanted`, of as many elements, is `shape` without some axes of size 1."""
    kept: list[int] = []
    for axis, size in enumerate(shape):
        if len(kept) < len(wanted) and same_dimension(size, wanted[len(kept)]):
            kept.append(axis)
    return kept if len(kept) == len(wanted) else None


@plugin.rewrite(
    *traits.MAPS,
    *("Mul", "Div", "Add", "Sub", "Pow", "Max", "Min", "Softmax", "LogSoftmax"),
    needs=("Reshape", "Transpose"),
)
def _layout_below_pointwise(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Mul(Reshape(x), 2) -> Reshape(Mul(x, 2)), also for Transpose: changes of layout come together and cancel."""
    places = [index for index, value in enumerate(node.inputs) if rw.shape(value) != () or rw.scalar(value) is None]
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


@plugin.rewrite(*traits.BROADCASTS, needs=("Transpose",))
def _transposes_below_pointwise(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Add(Transpose(x), Transpose(y)) -> Transpose(Add(x, y)): one less, which may cancel with a later one."""
    sources, perms = dict[ir.Value | None, ir.Value | None](), set()
    for value in node.inputs:
        transpose = rw.producer(value, "Transpose")
        if value is None or rw.shape(value) == ():
            sources[value] = value
        elif transpose is None or not rw.only_use(value):
            return None
        else:
            sources[value] = transpose.inputs[0]
            perms.add(tuple(rw.attr(transpose, "perm")))
    if len(perms) != 1 or sum(value is not source for value, source in sources.items()) < 2:
        return None
    result = rw.op(node.op_type, *(sources[value] for value in node.inputs), **rw.attrs(node))
    return rw.op.Transpose(result, perm=perms.pop())


@plugin.rewrite("Mul", needs=("Reshape", "Transpose"))
def _layout_below_gate(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """Mul(Transpose(x), Sigmoid(Transpose(x))) -> Transpose(Mul(x, Sigmoid(x))), and other functions of one value."""
    for moved, gate in rw.both_ways(node):
        function, layout = rw.producer(gate, *traits.MAPS), rw.producer(moved, "Reshape", "Transpose")
        if function is None or layout is None or moved is None or gate is None:
            continue
        if function.inputs[0] is not moved:  # cost: to ask for all readers of a value takes as long as they are many
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
        result = rw.reshape(value, rw.shape(layout.outputs[0]))
    result.meta[_STEPS] = steps
    return result
