"""LayerNormalization-17.

before: m = ReduceMean(x, axes); d = Sub(x, m); v = ReduceMean(Mul(d, d), axes)
        y = Mul(d, Reciprocal(Sqrt(Add(v, eps))))            (or Div(d, Sqrt(...)); Max(v, 0) or Relu(v) allowed)
        z = Add(Mul(y, weight), bias)                        (each optional)
after:  z = LayerNormalization(x, weight, bias, axis, epsilon)

Declines unless the axes are the last ones, and for weights or biases that vary along other axes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Mul", "Div")
def _normalise(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    found = _centred_and_variance(rw, node)
    if found is None:
        return None
    centred, epsilon, variance = found
    mean = rw.producer(centred.inputs[1], "ReduceMean")
    x = centred.inputs[0]
    if mean is None or x is None or mean.inputs[0] is not x or not rw.attr(mean, "keepdims", 1):
        return None
    axis = _first_of_last_axes(rw, mean, x)
    square = _mean_square(rw, variance)
    if axis is None or square is None or square[0] is not centred.outputs[0] or square[1] != axis:
        return None
    sizes = rw.shape(x)[axis:]  # type: ignore[index]
    if not all(isinstance(size, int) for size in sizes) or rw.dtype(x).kind not in "fV" or x.dtype is None:
        return None
    scale = rw.const(np.ones(sizes), x)
    return rw.op.LayerNormalization(x, scale, axis=axis - len(rw.shape(x) or ()), epsilon=epsilon)  # type: ignore[no-any-return]


def _centred_and_variance(rw: Rewriter, node: ir.Node) -> tuple[ir.Node, float, ir.Value] | None:
    """The Sub, epsilon and variance of d / sqrt(v + eps), however the division is written."""
    left, right = node.inputs
    pairs = [(left, right)] if node.op_type == "Div" else [(left, right), (right, left)]
    for d, scale in pairs:
        centred = rw.producer(d, "Sub")
        root = _square_root(rw, scale, inverted=node.op_type == "Mul")
        if centred is None or root is None:
            continue
        total = rw.producer(root, "Add")
        if total is None:
            continue
        for variance, eps in ((total.inputs[0], total.inputs[1]), (total.inputs[1], total.inputs[0])):
            epsilon = rw.scalar(eps)
            if epsilon is not None and epsilon >= 0 and variance is not None:
                return centred, epsilon, variance
    return None


def _square_root(rw: Rewriter, value: ir.Value | None, *, inverted: bool) -> ir.Value | None:
    """What stands under the root of sqrt(v), or of 1 / sqrt(v) if inverted."""
    if inverted:
        inverse = rw.producer(value, "Reciprocal", "Div")
        if inverse is None:
            return None
        if inverse.op_type == "Div" and rw.scalar(inverse.inputs[0]) != 1:
            return None
        value = inverse.inputs[-1]
    root = rw.producer(value, "Sqrt")
    return root.inputs[0] if root is not None else None


def _mean_square(rw: Rewriter, variance: ir.Value) -> tuple[ir.Value, int] | None:
    """(d, first axis) if this is the mean of d * d over the last axes."""
    clamp = rw.producer(variance, "Max", "Relu")
    if clamp is not None and clamp.op_type == "Relu":
        variance = clamp.inputs[0] or variance
    elif clamp is not None:
        for one, other in ((clamp.inputs[0], clamp.inputs[1]), (clamp.inputs[1], clamp.inputs[0])):
            if rw.scalar(other) == 0 and one is not None:
                variance = one
                break
    mean = rw.producer(variance, "ReduceMean")
    square = rw.producer(mean.inputs[0], "Mul", "Pow") if mean is not None else None
    if mean is None or square is None or not rw.attr(mean, "keepdims", 1):
        return None
    d = square.inputs[0]
    squares = square.inputs[1] is d if square.op_type == "Mul" else rw.scalar(square.inputs[1]) == 2
    axis = _first_of_last_axes(rw, mean, d) if d is not None else None
    return (d, axis) if squares and axis is not None and d is not None else None


def _first_of_last_axes(rw: Rewriter, mean: ir.Node, x: ir.Value) -> int | None:
    """The first axis of a reduction over the last axes, None if it is over others."""
    shape = rw.shape(x)
    axes = rw.constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    if shape is None or axes is None or len(axes) == 0:
        return None
    places = sorted(int(axis) % len(shape) for axis in axes)
    return places[0] if places == list(range(places[0], len(shape))) else None


@plugin.rewrite("Mul")
def _absorb_weight(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for norm, weight in rw.operands(node, "LayerNormalization"):
        y, scale = norm.outputs[0], norm.inputs[1]
        if len(norm.inputs) > 2 or rw.scalar(scale) != 1 or not rw.only_use(y) or scale is None:
            continue
        weight_on_axes = _on_normalised_axes(rw, norm, weight)
        if weight_on_axes is not None and rw.same_shape(y, node.outputs[0]):
            return rw.op.LayerNormalization(norm.inputs[0], weight_on_axes, **_attributes(norm))  # type: ignore[no-any-return]
    return None


@plugin.rewrite("Add")
def _absorb_bias(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for norm, bias in rw.operands(node, "LayerNormalization"):
        y = norm.outputs[0]
        if len(norm.inputs) > 2 or not rw.only_use(y):
            continue
        bias_on_axes = _on_normalised_axes(rw, norm, bias)
        if bias_on_axes is not None and rw.same_shape(y, node.outputs[0]):
            return rw.op.LayerNormalization(norm.inputs[0], norm.inputs[1], bias_on_axes, **_attributes(norm))  # type: ignore[no-any-return]
    return None


def _on_normalised_axes(rw: Rewriter, norm: ir.Node, value: ir.Value) -> ir.Value | None:
    """A weight or bias with the shape of the normalised axes, None if it varies along others or broadcasts."""
    shape, given = rw.shape(norm.inputs[0]), rw.shape(value)
    if shape is None or given is None:
        return None
    sizes = shape[rw.attr(norm, "axis", -1) :]
    if len(given) < len(sizes) or given[len(given) - len(sizes) :] != sizes:
        return None
    if any(size != 1 for size in given[: len(given) - len(sizes)]):
        return None
    return rw.reshape(value, sizes)


def _attributes(node: ir.Node) -> dict[str, object]:
    return {name: attribute.value for name, attribute in node.attributes.items()}
