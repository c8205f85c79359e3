"""Softmax and LogSoftmax.

before: m = ReduceMax(x, axis); d = Sub(x, m); e = Exp(d); s = ReduceSum(e, axis)
        y = Div(e, s), Mul(e, Reciprocal(s))                    or  Div(MatMul(e, v), s)
        z = Sub(d, Log(s))                                      or  Sub(x, Add(m, Log(s)))
after:  y = Softmax(x, axis)                                    or  MatMul(Softmax(x, axis), v)
        z = LogSoftmax(x, axis)                                 and Exp(z) -> Softmax(x, axis)

before: Softmax(Sub(x, ReduceMax(x, axis)), axis)               and the same of LogSoftmax
after:  Softmax(x, axis)                                        which takes off the maximum itself

The axes of maximum and sum may have moved, and those of a product of the weights; those of size 1 come and go, and
half precision may be summed in float32.
Where the maximum is infinite it may be 0 instead (logsumexp), if the weights of a product come out: a row with
plus infinity is NaN as a whole then, in JAX only at that place.

Where x is Where(m, ..., -inf), as `jax.nn.softmax(where=m)` has it, the sum may be of Where(m, e, 0).

Declines for more than one axis, where what is subtracted is not the maximum of x, and for other masked
sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from j2o_core import Rewriter, traits

from ..._plugin import plugin
from .._half import widened

_LONGEST_CHAIN = 10

# Axes of a product that the weights have not count from here.
_OTHER = 1000


@plugin.rewrite("Div", makes="Softmax")
def _softmax(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    numerator, total = node.inputs
    exp = rw.producer(numerator, "Exp")
    if exp is not None:
        found = _of_exponentials(rw, exp, total)
        if found is None:
            return None
        if not (_has_plain_maximum(rw, exp) or _are_weights(node.outputs[0], found[1])):
            return rw.decline("the maximum is replaced where it is infinite, which the operator does not do")
        return rw.op.Softmax(found[0], axis=found[1])
    product, behind = _behind_layouts(rw, numerator, "MatMul")
    if product is None or not all(rw.only_use(one.outputs[0]) for one in (product, *behind)):
        return None
    for side, weights in enumerate(product.inputs):
        exp, before = _behind_layouts(rw, weights, "Exp")
        found = _normalised(rw, exp, before, product, side, behind, total) if exp is not None else None
        if found is not None:
            softmax = _laid_out(rw, rw.op.Softmax(found[0], axis=found[1]), before)
            other = product.inputs[1 - side]
            return _laid_out(rw, rw.op.MatMul(*((softmax, other) if side == 0 else (other, softmax))), behind)
    return None


def _behind_layouts(rw: Rewriter, value: ir.Value | None, op_type: str) -> tuple[ir.Node | None, list[ir.Node]]:
    """The operator that makes a value, and the changes of layout in between."""
    layouts: list[ir.Node] = []
    while len(layouts) < _LONGEST_CHAIN and (node := rw.producer(value, op_type, *traits.LAYOUT)) is not None:
        if node.op_type == op_type:
            return node, layouts[::-1]
        layouts.append(node)
        value = node.inputs[0]
    return None, []


def _laid_out(rw: Rewriter, value: ir.Value, layouts: Sequence[ir.Node]) -> ir.Value:
    for node in layouts:
        if node.op_type == "Transpose":
            value = rw.op.Transpose(value, perm=rw.attr(node, "perm"))
        else:
            value = rw.reshape(value, rw.shape(node.outputs[0]))
    return value


def _normalised(
    rw: Rewriter,
    exp: ir.Node,
    before: Sequence[ir.Node],
    product: ir.Node,
    side: int,
    behind: Sequence[ir.Node],
    total: ir.Value | None,
) -> tuple[ir.Value, int] | None:
    """(x, axis from behind) if `total` is for each weighted sum that of its own weights, Exp(x - max(x))."""
    found = _shifted(rw, exp)
    if found is None or total is None:
        return None
    x, maximum = found
    total, e = _sum_and_summed(rw, exp, x, total)
    plain, sums = rw.view(e), rw.view(total, lambda node: node.op_type == "ReduceSum")
    if plain is None or sums is None or sums.root is not plain.root:
        return None
    weights = rw.followed(before, plain.axes)
    if weights is None or len(weights) < 2:
        return None
    *lead, row, column = weights
    rows, keys = (row, column) if side == 0 else (column, row)
    if keys not in plain.axes:
        return None
    axis = plain.axes.index(keys) - len(plain.axes)
    if _reduced_axis(rw, maximum, x, "ReduceMax", axis) is None:
        return None
    *batches, high, wide = rw.axes(product.outputs[0], _OTHER)
    lead = [*[()] * (len(batches) - len(lead)), *lead]
    result = [one or other for one, other in zip(lead, batches, strict=True)]
    divided = rw.followed(behind, (*result, rows, wide) if side == 0 else (*result, high, rows))
    if divided is None:
        return None
    own = tuple(axis if all(part.axis < _OTHER for part in axis) else () for axis in divided)
    return (x, axis) if sums.axes == own else None


@plugin.rewrite("Mul")
def _softmax_by_inverse(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The sum is 1 at least, so its inverse is as good."""
    for inverse, e in [*rw.operands(node, "Reciprocal"), *rw.operands(node, "Div")]:
        exp = rw.producer(e, "Exp")
        if exp is None or (inverse.op_type == "Div" and rw.scalar(inverse.inputs[0]) != 1):
            continue
        found = _of_exponentials(rw, exp, inverse.inputs[-1])
        if found is not None and _has_plain_maximum(rw, exp) and rw.same_shape(e, node.outputs[0]):
            return rw.op.Softmax(found[0], axis=found[1])
    return None


@plugin.rewrite("Sub")
def _log_softmax(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    first, second = node.inputs
    log = rw.producer(second, "Log")
    if log is not None:
        found = _of_logarithm(rw, log)
        shifted = rw.producer(first, "Sub")
        if found is None or shifted is not found[2] or shifted is None:
            return None
        if _without_guard(rw, shifted.inputs[1]) is not shifted.inputs[1] and not _makes_weights(node, found[1]):
            return None
        return rw.op.LogSoftmax(found[0], axis=found[1])
    total = rw.producer(second, "Add")
    for log, maximum in rw.operands(total, "Log"):
        found = _of_logarithm(rw, log)
        if found is None or found[0] is not first or found[2].inputs[1] is not maximum:
            continue
        if maximum is _without_guard(rw, maximum) or _makes_weights(node, found[1]):
            return rw.op.LogSoftmax(found[0], axis=found[1])
    return None


def _makes_weights(node: ir.Node, axis: int) -> bool:
    """Whether a node's result is read by Exp alone, which makes the weights of a product of it."""
    (value,) = node.outputs
    readers = [user for user, _ in value.uses()]
    only_exp = not value.is_graph_output() and {"Exp"} >= {reader.op_type for reader in readers}
    return only_exp and all(_are_weights(reader.outputs[0], axis) for reader in readers)


def _are_weights(value: ir.Value, axis: int) -> bool:
    """Whether only MatMul reads a value, and sums along this axis of it: there a NaN spreads along the row anyway."""
    summed = all(user.op_type == "MatMul" and axis == (-1, -2)[place] for user, place in value.uses())
    return summed and not value.is_graph_output()


def _has_plain_maximum(rw: Rewriter, exp: ir.Node) -> bool:
    shifted = rw.producer(exp.inputs[0], "Sub")
    return shifted is not None and _without_guard(rw, shifted.inputs[1]) is shifted.inputs[1]


@plugin.rewrite("Softmax", "LogSoftmax")
def _without_maximum(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """A row with plus infinity, or of minus infinity alone, is NaN either way: the maximum may be guarded."""
    shifted = rw.producer(node.inputs[0], "Sub")
    x, shape = (shifted.inputs[0] if shifted is not None else None), rw.shape(node.inputs[0])
    if shifted is None or x is None or shape is None:
        return None
    axis = rw.attr(node, "axis", -1) % len(shape) - len(shape)
    maximum = _without_guard(rw, shifted.inputs[1])
    if maximum is None or _reduced_axis(rw, maximum, x, "ReduceMax", axis) is None:
        return None
    return rw.op(node.op_type, x, axis=axis)


@plugin.rewrite("Exp")
def _exp_of_log_softmax(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    log_softmax = rw.producer(node.inputs[0], "LogSoftmax")
    if log_softmax is None:
        return None
    return rw.op.Softmax(log_softmax.inputs[0], axis=rw.attr(log_softmax, "axis", -1))


def _of_logarithm(rw: Rewriter, log: ir.Node) -> tuple[ir.Value, int, ir.Node] | None:
    """(x, axis, the Sub) of Log(ReduceSum(Exp(Sub(x, max)))); logsumexp takes the sum's magnitude before."""
    total = rw.before(log.inputs[0], "Abs")
    exp = rw.producer(widened(rw, rw.operand_of(rw.before(total, "Cast"), "ReduceSum")), "Exp")
    if exp is None:
        return None
    found, shifted = _of_exponentials(rw, exp, total), rw.producer(exp.inputs[0], "Sub")
    return None if found is None or shifted is None else (*found, shifted)


def _of_exponentials(rw: Rewriter, exp: ir.Node, total: ir.Value | None) -> tuple[ir.Value, int] | None:
    """(x, axis from behind) if `total` is the sum along an axis of Exp(x - max(x))."""
    found = _shifted(rw, exp)
    if found is None or total is None:
        return None
    x, maximum = found
    axis = _reduced_axis(rw, *_sum_and_summed(rw, exp, x, total), "ReduceSum")
    if axis is None:
        sums = rw.producer(total, "ReduceSum")
        if sums is not None and sums.inputs[0] is exp.outputs[0]:
            return rw.decline("the sum is over several axes")
        return None
    if _reduced_axis(rw, maximum, x, "ReduceMax", axis) is None:
        return rw.decline("what is subtracted is not the maximum along the axis of the sum")
    return x, axis


def _shifted(rw: Rewriter, exp: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """(x, m) of Exp(x - m), m of a lower rank or broadcast, perhaps guarded where it is infinite."""
    shifted = rw.producer(exp.inputs[0], "Sub")
    if shifted is None or rw.shape(exp.outputs[0]) is None:
        return None
    x, maximum = shifted.inputs[0], _without_guard(rw, shifted.inputs[1])
    return None if x is None or maximum is None or not rw.same_shape(x, exp.outputs[0]) else (x, maximum)


def _sum_and_summed(rw: Rewriter, exp: ir.Node, x: ir.Value, total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The sum and the exponentials in it; of half precision, they may be masked before or behind the Cast."""
    total, e = _summed(rw, total, _masked(rw, exp.outputs[0], x))
    return total, _masked(rw, e, x)


def _masked(rw: Rewriter, e: ir.Value, x: ir.Value) -> ir.Value:
    """Where(m, e, 0) for x = Where(m, ..., -inf), which is e: that is 0 there, or NaN in the whole row."""
    where = rw.producer(x, "Where")
    if where is None or rw.scalar(where.inputs[2]) != -math.inf:
        return e
    for user, place in e.uses():
        same = user.op_type == "Where" and place == 1 and user.inputs[0] is where.inputs[0]
        if same and rw.scalar(user.inputs[2]) == 0 and rw.same_shape(user.outputs[0], e):
            return user.outputs[0]
    return e


def _summed(rw: Rewriter, total: ir.Value, e: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The sum and its operand: JAX sums half precision in float32, with a Cast before and one behind."""
    narrow = rw.producer(total, "Cast")
    wide = next((user for user, _ in e.uses() if user.op_type == "Cast"), None)
    if narrow is None or narrow.inputs[0] is None or wide is None or wide.outputs[0].dtype is not ir.DataType.FLOAT:
        return total, e
    return narrow.inputs[0], wide.outputs[0]


def _without_guard(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The m of Where(Abs(m) < inf, m, 0)."""
    guard = rw.producer(value, "Where")
    if guard is None:
        return value
    finite = rw.producer(guard.inputs[0], "Less")
    if finite is None or rw.operand_of(finite.inputs[0], "Abs") is not guard.inputs[1]:
        return value
    return guard.inputs[1] if rw.scalar(finite.inputs[1]) == math.inf and rw.scalar(guard.inputs[2]) == 0 else value


def _reduced_axis(rw: Rewriter, value: ir.Value, x: ir.Value, op_type: str, expected: int | None = None) -> int | None:
    """The axis of x, counted from behind, along which `value` is reduced and otherwise like x; None if it is not."""
    shape = rw.shape(x)
    if shape is None:
        return None
    node = rw.producer(value, op_type)
    if node is not None and node.inputs[0] is x and rw.attr(node, "keepdims", 1):
        axes = rw.reduced_axes(node)
        axis = axes[0] - len(shape) if axes is not None and len(axes) == 1 else None
        return axis if axis is not None and expected in (None, axis) else None
    reduced = rw.view(value, lambda node: node.op_type == op_type)
    plain = rw.view(x)
    if reduced is None or plain is None or reduced.root is not plain.root or len(reduced.axes) != len(plain.axes):
        return None
    differ = [axis for axis, (one, other) in enumerate(zip(reduced.axes, plain.axes, strict=True)) if one != other]
    if len(differ) != 1:
        return None
    axis = differ[0] - len(shape)
    return axis if expected in (None, axis) else None
