"""LayerNormalization-17.

before: m = ReduceMean(x, axes); d = Sub(x, m); v = ReduceMean(Mul(d, d), axes)
        y = Mul(d, Reciprocal(Sqrt(Add(v, eps))))            (or Div(d, Sqrt(...)), Pow(..., -0.5); Max(v, 0) allowed)
        z = Add(Mul(y, weight), bias)                        (each optional; or Mul(d, Mul(Reciprocal(...), weight)),
                                                              or Div(Mul(d, weight), Sqrt(...)))
after:  z = LayerNormalization(x, weight, bias, axis, epsilon)

Means of bfloat16 may be taken in float32, with a Cast before and one behind. What float32 computes for half precision
takes up weight and bias behind the Cast as well: Mul(Cast(LayerNormalization(x, 1)), weight) becomes
Cast(LayerNormalization(x, Cast(weight))), one rounding less.

The variance may be ReduceMean(Mul(x, x)) - m * m, of float32: where that cancels, the operator is nearer to the true
number than the graph before, which is as far from JAX's as JAX's from the truth. Axes of size 1 may come and go.
Declines unless the axes are the last ones, for weights or biases that vary along other axes, for squares in float16,
which overflow from 256 on, and for float64: the operator's epsilon is a float32 (x of the size of 1e-3 would be off by
4e-8), and it takes twice the time there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from j2o_core import Rewriter, traits
from j2o_core.graph._infer import same_shape

from ..._plugin import plugin
from .._half import SINGLE_RANGE, before_half_cast, rounded, widened
from ..weights._repeated_constants import equal


@plugin.rewrite("Mul", "Div", makes="LayerNormalization", needs=("ReduceMean",))
def _normalise(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    inverted = node.op_type == "Mul"
    for d, root, weight in parts_and_weight(rw, node):
        centred = rw.producer(d, "Sub")
        x = centred.inputs[0] if centred is not None else None
        if centred is None or x is None or not rw.same_shape(d, node.outputs[0]):
            continue
        if not _is_mean(rw, centred.inputs[1], x) or square_root(rw, plain(rw, root), inverted=inverted) is None:
            continue
        axis = mean_axis(rw, centred.inputs[1], x)
        sizes = (rw.shape(x) or ())[axis:]
        if axis is None:
            rw.decline("the mean is not over the last axes")
        elif x.dtype not in SINGLE_RANGE:
            rw.decline(f"the dtype is {x.dtype}")
        elif not all(isinstance(size, int) for size in sizes):
            rw.decline(f"the sizes {sizes} of the axes are symbolic")
        elif (epsilon := _epsilon(rw, root, x, axis, inverted=inverted)) is None:
            rw.decline("the root is not that of the variance along the same axes and a constant epsilon")
        else:
            on_axes = rw.const(np.ones(sizes), x) if weight is None else on_last_axes(rw, x, axis, weight)
            if on_axes is not None:
                return rw.op.LayerNormalization(x, on_axes, axis=axis, epsilon=epsilon)
            rw.decline("the weight varies along other axes")
    return None


def _is_mean(rw: Rewriter, value: ir.Value | None, x: ir.Value) -> bool:
    """Whether a value is a mean of x, over whichever axes."""
    mean = rw.producer(plain(rw, value), "ReduceMean")
    return mean is not None and widened(rw, mean.inputs[0]) is widened(rw, x)


def parts_and_weight(rw: Rewriter, node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value, ir.Value | None]]:
    """A product or quotient as a value, a root or its inverse, and perhaps a weight, which either may hold."""
    is_product = node.op_type == "Mul"
    for value, scale in rw.both_ways(node) if is_product else [tuple(node.inputs)]:
        assert value is not None
        assert scale is not None
        yield value, scale, None
        for inner, weight in rw.both_ways(rw.producer(value, "Mul")):
            if inner is not None:
                yield inner, scale, weight
        for inner, weight in rw.both_ways(rw.producer(scale, "Mul") if is_product else None):
            if inner is not None:
                yield value, inner, weight


def _epsilon(rw: Rewriter, scale: ir.Value, x: ir.Value, axis: int, *, inverted: bool) -> float | None:
    """The epsilon of a root of the variance of x along the last axes, or of its inverse."""
    if not is_reduced(rw, scale, x, axis):
        return None
    total = rw.producer(plain(rw, square_root(rw, plain(rw, scale), inverted=inverted)), "Add")
    for variance, eps in rw.both_ways(total):
        epsilon = rw.scalar(eps)
        if epsilon is not None and epsilon >= 0 and _is_variance(rw, plain(rw, variance), x, axis):
            return epsilon
    return None


def _is_variance(rw: Rewriter, value: ir.Value | None, x: ir.Value, axis: int) -> bool:
    value = plain(rw, unclamped(rw, value))
    node = rw.producer(value, "ReduceMean", "Sub")
    if node is None:
        return False
    if node.op_type == "ReduceMean":
        d = square_of(rw, widened(rw, node.inputs[0]))
        centred = rw.producer(d, "Sub")
        if centred is None or d is None or d.dtype not in SINGLE_RANGE:
            return False
        if widened(rw, centred.inputs[0]) is not widened(rw, x):
            return False
        same = first_of_last_axes(rw, node, d) == axis + len(rw.shape(x) or ())
        return same and mean_axis(rw, centred.inputs[1], x) == axis
    mean_square, square = node.inputs
    if x.dtype is not ir.DataType.FLOAT:
        return False
    mean = rw.producer(plain(rw, square_of(rw, square)), "ReduceMean")
    squares = rw.producer(plain(rw, mean_square), "ReduceMean")
    if mean is None or squares is None or mean.inputs[0] is not x or square_of(rw, squares.inputs[0]) is not x:
        return False
    place = axis + len(rw.shape(x) or ())
    return first_of_last_axes(rw, mean, x) == first_of_last_axes(rw, squares, x) == place


def unclamped(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The v of Max(v, 0)."""
    for _, one, number in rw.with_number(value, "Max"):
        if number == 0 and rw.same_shape(one, value):
            return one
    return rw.before(value, "Relu")


def square_of(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The x of x * x."""
    square = rw.producer(value, "Mul", "Pow")
    if square is None:
        return None
    x, other = square.inputs
    squares = other is x if square.op_type == "Mul" else rw.scalar(other) == 2
    return x if squares else None


def square_root(rw: Rewriter, value: ir.Value | None, *, inverted: bool) -> ir.Value | None:
    """The operand v of sqrt(v), or of 1 / sqrt(v) if inverted."""
    power = rw.producer(value, "Pow")
    if power is not None and rw.scalar(power.inputs[1]) == (-0.5 if inverted else 0.5):
        return power.inputs[0]
    if inverted:
        inverse = rw.producer(value, "Reciprocal", "Div")
        if inverse is None or (inverse.op_type == "Div" and rw.scalar(inverse.inputs[0]) != 1):
            return None
        value = plain(rw, inverse.inputs[-1])
        power = rw.producer(value, "Pow")
        if power is not None and rw.scalar(power.inputs[1]) == 0.5:
            return power.inputs[0]
    return rw.operand_of(value, "Sqrt")


def plain(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """A value before it was rounded to bfloat16, and axes of size 1 came or went; the order is the same."""
    for _ in range(2):
        value = rw.before(rounded(rw, value), *traits.RESHAPES)
    return value


def is_reduced(rw: Rewriter, value: ir.Value, x: ir.Value, axis: int) -> bool:
    """Whether a value has the shape of x with size 1 from an axis (from behind) on."""
    return same_shape(rw.shape(value), (*(rw.shape(x) or ())[:axis], *[1] * -axis))


def mean_axis(rw: Rewriter, value: ir.Value | None, x: ir.Value | None) -> int | None:
    """The first axis, from behind, if a value is the mean of x over the last axes and broadcasts along them."""
    mean = rw.producer(plain(rw, value), "ReduceMean")
    if mean is None or value is None or x is None or widened(rw, mean.inputs[0]) is not widened(rw, x):
        return None
    first = first_of_last_axes(rw, mean, x)
    if first is None:
        return None
    axis = first - len(rw.shape(x) or ())
    return axis if is_reduced(rw, value, x, axis) else None


def first_of_last_axes(rw: Rewriter, mean: ir.Node, x: ir.Value) -> int | None:
    """The first axis of a reduction over the last axes, None if it is over others."""
    axes, shape = rw.reduced_axes(mean), rw.shape(x)
    return axes[0] if axes and shape and axes == list(range(axes[0], len(shape))) else None


@plugin.rewrite("Mul", "Add", needs=("LayerNormalization",))
def _absorb_term(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for norm, term in normalised(rw, node, "LayerNormalization"):
        is_bias = node.op_type == "Add"
        if len(norm.inputs) == 2 and (is_bias or rw.scalar(norm.inputs[1]) == 1):
            terms = (norm.inputs[1], term) if is_bias else (term,)
            result = rw.op.LayerNormalization(norm.inputs[0], *terms, **rw.attrs(norm))
            return rw.op.Cast(result, to=node.outputs[0].dtype)
    return None


def normalised(rw: Rewriter, node: ir.Node, op_type: str) -> list[tuple[ir.Node, ir.Value]]:
    """(norm, other operand as weight or bias) of a binary node that alone reads a norm, perhaps in half precision."""
    found = []
    for y, other in rw.both_ways(node):
        norm = rw.producer(before_half_cast(rw, y) or y, op_type)
        if norm is None or y is None or other is None or not rw.only_use(y) or not rw.same_shape(y, node.outputs[0]):
            continue
        x = norm.inputs[0]
        assert x is not None
        on_axes = on_last_axes(rw, x, rw.attr(norm, "axis", -1), other)
        if on_axes is not None:
            found.append((norm, rw.op.Cast(on_axes, to=x.dtype)))
    return found


def on_last_axes(rw: Rewriter, x: ir.Value, axis: int, value: ir.Value) -> ir.Value | None:
    """A weight or bias with the shape of the normalised axes, None if it varies along others or broadcasts."""
    shape, given = rw.shape(x), rw.shape(value)
    if shape is None or given is None:
        return None
    sizes = shape[axis:]
    if given[len(given) - len(sizes) :] != sizes:
        return None
    lead = given[: len(given) - len(sizes)]
    if all(size == 1 for size in lead):
        return rw.reshape(value, sizes)
    array = rw.constant(value)  # JAX may have written it out
    if array is None or not equal(array, row := array[(0,) * len(lead)]):
        return None
    return rw.op.constants.get(np.ascontiguousarray(row), rw.op.constants.hint(value))
