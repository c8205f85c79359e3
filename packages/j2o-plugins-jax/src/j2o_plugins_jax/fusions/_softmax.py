"""Softmax and LogSoftmax.

before: m = ReduceMax(x, axis); d = Sub(x, m); e = Exp(d); s = ReduceSum(e, axis)
        y = Div(e, s), Mul(e, Reciprocal(s))                    or  Div(MatMul(e, v), s) for the last axis
        z = Sub(d, Log(s))                                      or  Sub(x, Add(m, Log(s)))
after:  y = Softmax(x, axis)                                    or  MatMul(Softmax(x, -1), v)
        z = LogSoftmax(x, axis)                                 and Exp(z) -> Softmax(x, axis)

before: Softmax(Sub(x, ReduceMax(x, axis)), axis)               and the same of LogSoftmax
after:  Softmax(x, axis)                                        which takes off the maximum itself

The axes of maximum and sum may have moved, those of size 1 come and go, and half precision may be summed in float32.
Where the maximum is infinite it may be 0 instead (logsumexp), if the weights of a product come out: a row with
plus infinity is NaN as a whole then, in JAX only at that place.

Where x is Where(m, ..., -inf), as `jax.nn.softmax(where=m)` has it, the sum may be of Where(m, e, 0).

Declines for more than one axis, for float8, where what is subtracted is not the maximum of x, and for other masked
sums.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin
from ._half import HALVES, widened

_DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE, *HALVES)


@plugin.rewrite("Div")
def _softmax(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    numerator, total = node.inputs
    exp = rw.producer(numerator, "Exp")
    if exp is not None:
        found = _of_exponentials(rw, exp, total)
        if found is None or not (_has_plain_maximum(rw, exp) or _are_weights(node.outputs[0], found[1])):
            return None
        return rw.op.Softmax(found[0], axis=found[1])  # type: ignore[no-any-return]
    product = rw.producer(numerator, "MatMul")
    exp = rw.producer(product.inputs[0], "Exp") if product is not None else None
    if product is None or exp is None or not rw.only_use(product.outputs[0]):
        return None
    found = _of_exponentials(rw, exp, total)
    ranks = {len(rw.shape(value) or ()) for value in (total, numerator, exp.outputs[0])}
    if found is None or found[1] != -1 or len(ranks) > 1 or not rw.same_shape(product.outputs[0], node.outputs[0]):
        return None
    return rw.op.MatMul(rw.op.Softmax(found[0], axis=-1), product.inputs[1])  # type: ignore[no-any-return]


@plugin.rewrite("Mul")
def _softmax_by_inverse(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    """The sum is 1 at least, so its inverse is as good."""
    for inverse, e in [*rw.operands(node, "Reciprocal"), *rw.operands(node, "Div")]:
        exp = rw.producer(e, "Exp")
        if exp is None or (inverse.op_type == "Div" and rw.scalar(inverse.inputs[0]) != 1):
            continue
        found = _of_exponentials(rw, exp, inverse.inputs[-1])
        if found is not None and _has_plain_maximum(rw, exp) and rw.same_shape(e, node.outputs[0]):
            return rw.op.Softmax(found[0], axis=found[1])  # type: ignore[no-any-return]
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
        return rw.op.LogSoftmax(found[0], axis=found[1])  # type: ignore[no-any-return]
    total = rw.producer(second, "Add")
    for log, maximum in rw.operands(total, "Log") if total is not None else []:
        found = _of_logarithm(rw, log)
        if found is None or found[0] is not first or found[2].inputs[1] is not maximum:
            continue
        if maximum is _without_guard(rw, maximum) or _makes_weights(node, found[1]):
            return rw.op.LogSoftmax(found[0], axis=found[1])  # type: ignore[no-any-return]
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
    if shifted is None or x is None or shape is None or not rw.same_shape(x, shifted.outputs[0]):
        return None
    axis = rw.attr(node, "axis", -1) % len(shape) - len(shape)
    maximum = _without_guard(rw, shifted.inputs[1])
    if maximum is None or _reduced_axis(rw, maximum, x, "ReduceMax", axis) is None:
        return None
    return rw.op(node.op_type, x, axis=axis)  # type: ignore[no-any-return]


@plugin.rewrite("Exp")
def _exp_of_log_softmax(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    log_softmax = rw.producer(node.inputs[0], "LogSoftmax")
    if log_softmax is None:
        return None
    return rw.op.Softmax(log_softmax.inputs[0], axis=rw.attr(log_softmax, "axis", -1))  # type: ignore[no-any-return]


def _of_logarithm(rw: Rewriter, log: ir.Node) -> tuple[ir.Value, int, ir.Node] | None:
    """(x, axis, the Sub) of Log(ReduceSum(Exp(Sub(x, max)))); logsumexp takes the sum's magnitude before."""
    total = log.inputs[0]
    magnitude = rw.producer(total, "Abs")
    total = magnitude.inputs[0] if magnitude is not None else total
    narrow = rw.producer(total, "Cast")
    reduction = rw.producer(narrow.inputs[0] if narrow is not None else total, "ReduceSum")
    exp = rw.producer(widened(rw, reduction.inputs[0]), "Exp") if reduction is not None else None
    found = _of_exponentials(rw, exp, total) if exp is not None else None
    shifted = rw.producer(exp.inputs[0], "Sub") if exp is not None else None
    return None if found is None or shifted is None else (*found, shifted)


def _of_exponentials(rw: Rewriter, exp: ir.Node, total: ir.Value | None) -> tuple[ir.Value, int] | None:
    """(x, axis from behind) if `total` is the sum along an axis of Exp(x - max(x))."""
    shape = rw.shape(exp.outputs[0])
    shifted = rw.producer(exp.inputs[0], "Sub")
    if shape is None or shifted is None or shifted.inputs[0] is None or total is None:
        return None
    if exp.outputs[0].dtype not in _DTYPES:
        return None
    # Of half precision, the sum may be masked before or behind the Cast.
    total, e = _summed(rw, total, _masked(rw, exp.outputs[0], shifted.inputs[0]))
    e = _masked(rw, e, shifted.inputs[0])
    axis = _reduced_axis(rw, total, e, "ReduceSum")
    maximum = _without_guard(rw, shifted.inputs[1])
    if axis is None or maximum is None or _reduced_axis(rw, maximum, shifted.inputs[0], "ReduceMax", axis) is None:
        return None
    if not rw.same_shape(shifted.inputs[0], exp.outputs[0]):
        return None
    return shifted.inputs[0], axis


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
    """What is summed up: JAX sums half precision in float32, with a Cast before and one behind."""
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
    magnitude = rw.producer(finite.inputs[0], "Abs") if finite is not None else None
    if finite is None or magnitude is None or magnitude.inputs[0] is not guard.inputs[1]:
        return value
    return guard.inputs[1] if rw.scalar(finite.inputs[1]) == math.inf and rw.scalar(guard.inputs[2]) == 0 else value


def _reduced_axis(rw: Rewriter, value: ir.Value, x: ir.Value, op_type: str, expected: int | None = None) -> int | None:
    """The axis of x, counted from behind, along which `value` is reduced and otherwise like x; None if it is not."""
    shape = rw.shape(x)
    if shape is None:
        return None
    node = rw.producer(value, op_type)
    if node is not None and node.inputs[0] is x and rw.attr(node, "keepdims", 1):
        axes = rw.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        axis = int(axes[0]) % len(shape) - len(shape) if axes is not None and len(axes) == 1 else None
        return axis if axis is not None and expected in (None, axis) else None
    reduced = rw.view(value, lambda node: node.op_type == op_type)
    plain = rw.view(x)
    if reduced is None or plain is None or reduced.root is not plain.root or len(reduced.axes) != len(plain.axes):
        return None
    if not any(node.op_type == op_type for node in reduced.nodes):
        return None
    differ = [axis for axis, (one, other) in enumerate(zip(reduced.axes, plain.axes, strict=True)) if one != other]
    if len(differ) != 1 or reduced.axes[differ[0]]:
        return None
    axis = differ[0] - len(shape)
    return axis if expected in (None, axis) else None
