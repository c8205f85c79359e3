"""Operators written with other operators, for element types that have no kernel and no wider type: mostly float64.

Each is the operator's definition, arranged so that nothing is lost: small arguments do not cancel, large ones do not
overflow before the result does. What they compute is as good as the runtime's own kernels they are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._builder import Builder
from ..rewrite import Rewriter
from ..simplify._identities import one_number
from ..target import FLOATS, UNSIGNED
from ._convolution import average_pool, convolution
from ._declined import Declined, sizes_of

Compose = Callable[[Rewriter, ir.Node], Any]


def _unary(compose: Callable[..., Any]) -> Compose:
    """A function of the operand, with the node's attributes as keywords, for floats."""

    def whole(rw: Rewriter, node: ir.Node) -> Any:
        x = node.inputs[0]
        assert x is not None
        if x.dtype not in FLOATS:
            raise Declined("only its floating-point form can be written with other operators")
        attributes = rw.attrs(node).items()
        return compose(rw.op, x, **{name: _float32(v) if isinstance(v, float) else v for name, v in attributes})

    return whole


def _float32(number: float) -> float:
    """A default as ONNX states it: attributes are float32 numbers."""
    return float(np.float32(number))


# Building blocks. `op.const(1, x)` is 1 in the element type of x.


def _less(op: Builder, x: ir.Value, bound: float) -> Any:
    return op.Less(x, op.const(bound, x))


def _keep_zero(op: Builder, x: ir.Value, result: ir.Value) -> Any:
    """The result, but x itself where that is zero: an odd function keeps its sign."""
    return op.Where(op.Cast(x, to=ir.DataType.BOOL), result, x)


def _add(op: Builder, x: ir.Value, number: float) -> Any:
    return op.Add(x, op.const(number, x))


def _times(op: Builder, x: ir.Value, number: float) -> Any:
    return op.Mul(x, op.const(number, x))


def _expm1(op: Builder, x: ir.Value) -> Any:
    """As exp(x) - 1 = (u - 1) * x / log(u) with u = exp(x), whose rounding cancels; x itself where u is 1 (Kahan)."""
    u = op.Exp(x)
    minus = _add(op, u, -1)
    log = op.Log(u)
    exact = op.Div(op.Mul(minus, x), log)
    one = op.Equal(u, op.const(1, x))
    # u is 0 for large negative x and inf for large positive x: there u - 1 is right, and the quotient is not.
    edge = op.IsInf(log)
    return op.Where(one, x, op.Where(edge, minus, exact))


def _log1p(op: Builder, x: ir.Value) -> Any:
    """As log(1 + x) = log(u) * x / (u - 1) with u = 1 + x, whose rounding cancels; x itself where u is 1 (Kahan)."""
    u = _add(op, x, 1)
    minus = _add(op, u, -1)
    log = op.Log(u)
    exact = op.Div(op.Mul(log, x), minus)
    one = op.Equal(u, op.const(1, x))
    edge = op.IsInf(u)
    return op.Where(one, x, op.Where(edge, log, exact))


def _negative_part(op: Builder, x: ir.Value) -> Any:
    return op.Min(x, op.const(0, x))


def _softplus_of(op: Builder, x: ir.Value) -> Any:
    """As log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return op.Add(op.Max(x, op.const(0, x)), _log1p(op, op.Exp(op.Neg(op.Abs(x)))))


# Activations


def _leaky_relu(op: Builder, x: ir.Value, alpha: float = _float32(0.01)) -> Any:
    return op.Where(_less(op, x, 0), _times(op, x, alpha), x)


def _elu(op: Builder, x: ir.Value, alpha: float = 1.0) -> Any:
    negative = _times(op, _expm1(op, _negative_part(op, x)), alpha)
    return op.Where(_less(op, x, 0), negative, x)


def _celu(op: Builder, x: ir.Value, alpha: float = 1.0) -> Any:
    """As max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    negative = _times(op, _expm1(op, op.Div(_negative_part(op, x), op.const(alpha, x))), alpha)
    return op.Where(_less(op, x, 0), negative, x)


def _selu(
    op: Builder,
    x: ir.Value,
    alpha: float = _float32(1.67326319217681884765625),
    gamma: float = _float32(1.05070102214813232421875),
) -> Any:
    negative = _times(op, _expm1(op, _negative_part(op, x)), alpha)
    return _times(op, op.Where(_less(op, x, 0), negative, x), gamma)


def _softsign(op: Builder, x: ir.Value) -> Any:
    return op.Div(x, _add(op, op.Abs(x), 1))


def _hard_sigmoid(op: Builder, x: ir.Value, alpha: float = _float32(0.2), beta: float = 0.5) -> Any:
    return op.Clip(_add(op, _times(op, x, alpha), beta), op.const(0, x), op.const(1, x))


def _hard_swish(op: Builder, x: ir.Value) -> Any:
    """As x * clip(x + 3, 0, 6) / 6."""
    return op.Mul(x, op.Div(op.Clip(_add(op, x, 3), op.const(0, x), op.const(6, x)), op.const(6, x)))


def _mish(op: Builder, x: ir.Value) -> Any:
    return op.Mul(x, op.Tanh(_softplus_of(op, x)))


def _swish(op: Builder, x: ir.Value, alpha: float = 1.0) -> Any:
    return op.Mul(x, op.Sigmoid(x if alpha == 1 else _times(op, x, alpha)))


def _thresholded_relu(op: Builder, x: ir.Value, alpha: float = 1.0) -> Any:
    return op.Where(op.Greater(x, op.const(alpha, x)), x, op.const(0, x))


def _gelu(op: Builder, x: ir.Value, approximate: str = "none") -> Any:
    if approximate == "none":
        half = op.Erf(_times(op, x, math.sqrt(0.5)))
    else:
        cubic = op.Add(x, _times(op, op.Mul(op.Mul(x, x), x), 0.044715))
        half = op.Tanh(_times(op, cubic, math.sqrt(2 / math.pi)))
    return _times(op, op.Mul(x, _add(op, half, 1)), 0.5)


# Trigonometric and hyperbolic functions


def _tan(op: Builder, x: ir.Value) -> Any:
    return op.Div(op.Sin(x), op.Cos(x))


def _cosh(op: Builder, x: ir.Value) -> Any:
    """As e * e / 2 + 1 / (2 * e * e) with e = exp(|x| / 2), so that nothing overflows before the result does."""
    e = op.Exp(_times(op, op.Abs(x), 0.5))
    half = _times(op, e, 0.5)
    return op.Add(op.Mul(half, e), op.Div(op.Div(op.const(0.5, x), e), e))


def _sinh(op: Builder, x: ir.Value) -> Any:
    return op.Mul(op.Tanh(x), _cosh(op, x))


def _asinh(op: Builder, x: ir.Value) -> Any:
    """As sign(x) * log1p(a + a^2 / (1 + sqrt(a^2 + 1))) with a = |x|; log(a) + log(2) where a^2 would overflow."""
    a = op.Abs(x)
    small = op.Min(a, op.const(1e9, x))
    square = op.Mul(small, small)
    root = op.Sqrt(_add(op, square, 1))
    near = _log1p(op, op.Add(small, op.Div(square, _add(op, root, 1))))
    far = _add(op, op.Log(a), math.log(2))
    magnitude = op.Where(op.Greater(a, op.const(1e9, x)), far, near)
    return _keep_zero(op, x, op.Mul(op.Sign(x), magnitude))


def _acosh(op: Builder, x: ir.Value) -> Any:
    """As log1p(t + sqrt(t) sqrt(t + 2)) with t = x - 1; log(x) + log(2) where that would overflow."""
    t = _add(op, op.Min(x, op.const(1e9, x)), -1)
    near = _log1p(op, op.Add(t, op.Mul(op.Sqrt(t), op.Sqrt(_add(op, t, 2)))))
    far = _add(op, op.Log(x), math.log(2))
    return op.Where(op.Greater(x, op.const(1e9, x)), far, near)


def _atanh(op: Builder, x: ir.Value) -> Any:
    """As log1p(2 x / (1 - x)) / 2, of |x| and with the sign put back, where it does not cancel."""
    a = op.Abs(x)
    ratio = op.Div(_times(op, a, 2), op.Sub(op.const(1, x), a))
    return _keep_zero(op, x, op.Mul(op.Sign(x), _times(op, _log1p(op, ratio), 0.5)))


def _atan(op: Builder, x: ir.Value) -> Any:
    """One Newton step on the float32 result y: atan(r) = y + (r cos y - sin y) / (cos y + r sin y), r = x or 1 / x.

    The step leaves the cube of the float32 error, which is less than float64 resolves.
    """
    far = op.Greater(op.Abs(x), op.const(1, x))
    r = op.Where(far, op.Reciprocal(x), x)
    y = op.Cast(op.Atan(op.Cast(r, to=ir.DataType.FLOAT)), to=x.dtype)
    sin, cos = op.Sin(y), op.Cos(y)
    step = op.Div(op.Sub(op.Mul(r, cos), sin), op.Add(cos, op.Mul(r, sin)))
    near = op.Add(y, step)
    quarter = op.Where(_less(op, x, 0), op.const(-math.pi / 2, x), op.const(math.pi / 2, x))
    return _keep_zero(op, x, op.Where(far, op.Sub(quarter, near), near))


def _asin(op: Builder, x: ir.Value) -> Any:
    """As atan(x / sqrt((1 - x) (1 + x)))."""
    one = op.const(1, x)
    root = op.Sqrt(op.Mul(op.Sub(one, x), _add(op, x, 1)))
    return _atan(op, op.Div(x, root))


def _acos(op: Builder, x: ir.Value) -> Any:
    """As 2 atan(sqrt((1 - x) / (1 + x)))."""
    ratio = op.Div(op.Sub(op.const(1, x), x), _add(op, x, 1))
    return _times(op, _atan(op, op.Sqrt(ratio)), 2)


# The error function


_ERF_STEP = 1 / 8
_ERF_KNOTS = np.arange(0, 6 + _ERF_STEP, _ERF_STEP)  # erf is 1 from 6 on


def _erf(op: Builder, x: ir.Value) -> Any:
    """From the nearest knot a, with h = x - a: erf(a) + 2/sqrt(pi) exp(-a^2) * integral of exp(-2 a s - s^2) to h.

    The integrand is so smooth over half a step that seven Gauss-Legendre points give it to the last bit.
    """
    magnitude = op.Min(op.Abs(x), op.const(_ERF_KNOTS[-1], x))
    place = op.Round(_times(op, magnitude, 1 / _ERF_STEP))
    place = op.Where(op.IsNaN(x), op.const(0, x), place)
    index = op.Cast(place, to=ir.DataType.INT64)
    at_knot = op.Gather(op.const([math.erf(a) for a in _ERF_KNOTS], x), index, axis=0)
    slope = op.Gather(op.const(2 / math.sqrt(math.pi) * np.exp(-(_ERF_KNOTS**2)), x), index, axis=0)

    knot = _times(op, place, _ERF_STEP)
    step = op.Sub(magnitude, knot)
    points, weights = np.polynomial.legendre.leggauss(7)
    last = op.const([-1], np.int64)
    s = op.Mul(op.Unsqueeze(step, last), op.const((points + 1) / 2, x))
    twice = op.Unsqueeze(_times(op, knot, 2), last)
    integrand = op.Exp(op.Neg(op.Mul(s, op.Add(s, twice))))
    weighted = op.Mul(integrand, op.const(weights / 2, x))
    mean = op.ReduceSum(weighted, last, keepdims=0)
    magnitude = op.Add(at_knot, op.Mul(slope, op.Mul(step, mean)))
    return _keep_zero(op, x, op.Mul(op.Sign(x), magnitude))


# Others


def _p_relu(rw: Rewriter, node: ir.Node) -> Any:
    op, (x, slope) = rw.op, node.inputs
    return op.Where(op.Less(x, op.const(0, x)), op.Mul(x, slope), x)


def _relu(rw: Rewriter, node: ir.Node) -> Any:
    x = node.inputs[0]
    assert x is not None
    return x if x.dtype in UNSIGNED else rw.op.Max(x, rw.const(0, x))


def _gemm(rw: Rewriter, node: ir.Node) -> Any:
    """As alpha A' B' + beta C, with whole alpha and beta."""
    op, (a, b, *rest) = rw.op, node.inputs
    alpha, beta = rw.attr(node, "alpha", 1.0), rw.attr(node, "beta", 1.0)
    if not float(alpha).is_integer() or not float(beta).is_integer():
        raise Declined("alpha and beta have to be whole numbers")
    sides = [
        op.Transpose(value, perm=[1, 0]) if rw.attr(node, name, 0) else value
        for value, name in ((a, "transA"), (b, "transB"))
    ]
    product = op.MatMul(*sides)
    if alpha != 1:
        product = _times(op, product, int(alpha))
    bias = rest[0] if rest else None
    if bias is None or beta == 0:
        return product
    return op.Add(product, bias if beta == 1 else _times(op, bias, int(beta)))


def _one_hot(rw: Rewriter, node: ir.Node) -> Any:
    """Where(OneHot of 0 and 1, on, off)."""
    op, (indices, depth, values) = rw.op, node.inputs
    int64 = ir.DataType.INT64
    hot = op.OneHot(op.Cast(indices, to=int64), op.Cast(depth, to=int64), op.const([0, 1], np.int64), **rw.attrs(node))
    off, on = (op.Gather(values, op.const(i, np.int64), axis=0) for i in (0, 1))
    return op.Where(op.Cast(hot, to=ir.DataType.BOOL), on, off)


def _global_pool(op_type: str) -> Compose:
    def compose(rw: Rewriter, node: ir.Node) -> Any:
        x = node.inputs[0]
        axes = rw.const(range(2, len(sizes_of(x))), np.int64)
        return rw.op(op_type, x, axes, keepdims=1)

    return compose


def _instance_normalization(rw: Rewriter, node: ir.Node) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, for each instance and channel."""
    op, (x, *terms) = rw.op, node.inputs
    rank = len(sizes_of(x))
    axes = op.const(range(2, rank), np.int64)
    centred = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1)
    deviation = op.Sqrt(_add(op, variance, _float32(rw.attr(node, "epsilon", 1e-5))))
    # Scale and bias get their channels in the place that they have in x.
    inner = op.const(range(1, rank - 1), np.int64)
    scale, bias = (op.Unsqueeze(term, inner) for term in terms)
    return op.Add(op.Mul(op.Div(centred, deviation), scale), bias)


def _where(rw: Rewriter, node: ir.Node) -> Any:
    """A choice of booleans: one or two operators with a constant, else y ^ (condition & (x ^ y))."""
    condition, x, y = node.inputs
    if condition is None or x is None or y is None or x.dtype is not ir.DataType.BOOL:
        raise Declined("only booleans can be chosen by logic")
    op = rw.op
    for known, other, is_condition in ((x, y, True), (y, x, False)):
        flag = one_number(rw.constant(known))
        if flag is None or not any(rw.same_shape(value, node.outputs[0]) for value in (condition, other)):
            continue
        # Where(c, True, y) is c | y, and Where(c, x, False) is c & x.
        where_known = condition if is_condition == bool(flag) else op.Not(condition)
        return op.Or(where_known, other) if flag else op.And(where_known, other)
    return op.Xor(y, op.And(condition, op.Xor(x, y)))


COMPOSED: Mapping[str, Compose] = {
    **{
        op_type: _unary(compose)
        for op_type, compose in {
            "Acos": _acos,
            "Acosh": _acosh,
            "Asin": _asin,
            "Asinh": _asinh,
            "Atan": _atan,
            "Atanh": _atanh,
            "Celu": _celu,
            "Cosh": _cosh,
            "Elu": _elu,
            "Erf": _erf,
            "Gelu": _gelu,
            "HardSigmoid": _hard_sigmoid,
            "HardSwish": _hard_swish,
            "LeakyRelu": _leaky_relu,
            "Mish": _mish,
            "Selu": _selu,
            "Sinh": _sinh,
            "Softplus": _softplus_of,
            "Softsign": _softsign,
            "Swish": _swish,
            "Tan": _tan,
            "ThresholdedRelu": _thresholded_relu,
        }.items()
    },
    "AveragePool": average_pool,
    "Conv": convolution,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("ReduceMean"),
    "GlobalMaxPool": _global_pool("ReduceMax"),
    "InstanceNormalization": _instance_normalization,
    "OneHot": _one_hot,
    "PRelu": _p_relu,
    "Relu": _relu,
    "Where": _where,
}
"""For each operator, how to write it. Tried where no kernel and no detour is left."""

FASTER = {("Where", ir.DataType.BOOL)}
"""Operators with the element type of T for which a detour takes longer: 14 times, by casts of 100,000 booleans."""
