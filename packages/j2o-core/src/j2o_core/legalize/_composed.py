"""Operators written with other operators, for element types that have no kernel and no wider type: mostly float64.

Each is the operator's definition, arranged so that nothing is lost: small arguments do not cancel, large ones do not
overflow before the result does. What they compute is as good as the runtime's own kernels they are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ..target import FLOATS, UNSIGNED
from ._composer import Composer, Declined, dimensions
from ._convolution import average_pool, convolution

Compose = Callable[[Composer, ir.Node], Sequence[ir.Value]]
Unary = Callable[[Composer, ir.Value], ir.Value]


def _unary(compose: Unary) -> Compose:
    def whole(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
        x = node.inputs[0]
        assert x is not None
        if x.dtype not in FLOATS:
            raise Declined("only its floating-point form can be written with other operators")
        return [compose(c, x)]

    return whole


# Building blocks. `c.const(1, x)` is 1 in the element type of x.


def _less(c: Composer, x: ir.Value, bound: float) -> ir.Value:
    return c.op("Less", x, c.const(bound, x), dtype=ir.DataType.BOOL)


def _where(c: Composer, condition: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
    return c.op("Where", condition, yes, no, dtype=yes.dtype, shape=condition.shape)


def _keep_zero(c: Composer, x: ir.Value, result: ir.Value) -> ir.Value:
    """The result, but x itself where that is zero: an odd function keeps its sign."""
    return _where(c, c.cast(x, ir.DataType.BOOL), result, x)


def _add(c: Composer, x: ir.Value, number: float) -> ir.Value:
    return c.op("Add", x, c.const(number, x))


def _times(c: Composer, x: ir.Value, number: float) -> ir.Value:
    return c.op("Mul", x, c.const(number, x))


def _expm1(c: Composer, x: ir.Value) -> ir.Value:
    """As exp(x) - 1 = (u - 1) * x / log(u) with u = exp(x), whose rounding cancels; x itself where u is 1 (Kahan)."""
    u = c.op("Exp", x)
    minus = _add(c, u, -1)
    log = c.op("Log", u)
    exact = c.op("Div", c.op("Mul", minus, x), log)
    one = c.op("Equal", u, c.const(1, x), dtype=ir.DataType.BOOL)
    # u is 0 for large negative x and inf for large positive x: there u - 1 is right, and the quotient is not.
    edge = c.op("IsInf", log, dtype=ir.DataType.BOOL)
    return _where(c, one, x, _where(c, edge, minus, exact))


def _log1p(c: Composer, x: ir.Value) -> ir.Value:
    """As log(1 + x) = log(u) * x / (u - 1) with u = 1 + x, whose rounding cancels; x itself where u is 1 (Kahan)."""
    u = _add(c, x, 1)
    minus = _add(c, u, -1)
    log = c.op("Log", u)
    exact = c.op("Div", c.op("Mul", log, x), minus)
    one = c.op("Equal", u, c.const(1, x), dtype=ir.DataType.BOOL)
    edge = c.op("IsInf", u, dtype=ir.DataType.BOOL)
    return _where(c, one, x, _where(c, edge, log, exact))


def _negative_part(c: Composer, x: ir.Value) -> ir.Value:
    return c.op("Min", x, c.const(0, x))


def _softplus_of(c: Composer, x: ir.Value) -> ir.Value:
    """As log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return c.op("Add", c.op("Max", x, c.const(0, x)), _log1p(c, c.op("Exp", c.op("Neg", c.op("Abs", x)))))


# Activations


def _leaky_relu(c: Composer, x: ir.Value) -> ir.Value:
    return _where(c, _less(c, x, 0), _times(c, x, c.attribute("alpha", np.float32(0.01))), x)


def _elu(c: Composer, x: ir.Value) -> ir.Value:
    negative = _times(c, _expm1(c, _negative_part(c, x)), c.attribute("alpha", 1.0))
    return _where(c, _less(c, x, 0), negative, x)


def _celu(c: Composer, x: ir.Value) -> ir.Value:
    """As max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    alpha = c.attribute("alpha", 1.0)
    negative = _times(c, _expm1(c, c.op("Div", _negative_part(c, x), c.const(alpha, x))), alpha)
    return _where(c, _less(c, x, 0), negative, x)


def _selu(c: Composer, x: ir.Value) -> ir.Value:
    # The defaults are stated by ONNX as float32 numbers.
    alpha = c.attribute("alpha", np.float32(1.67326319217681884765625))
    gamma = c.attribute("gamma", np.float32(1.05070102214813232421875))
    negative = _times(c, _expm1(c, _negative_part(c, x)), alpha)
    return _times(c, _where(c, _less(c, x, 0), negative, x), gamma)


def _softsign(c: Composer, x: ir.Value) -> ir.Value:
    return c.op("Div", x, _add(c, c.op("Abs", x), 1))


def _hard_sigmoid(c: Composer, x: ir.Value) -> ir.Value:
    line = _add(c, _times(c, x, c.attribute("alpha", np.float32(0.2))), c.attribute("beta", 0.5))
    return c.op("Clip", line, c.const(0, x), c.const(1, x))


def _hard_swish(c: Composer, x: ir.Value) -> ir.Value:
    """As x * clip(x + 3, 0, 6) / 6."""
    return c.op("Mul", x, c.op("Div", c.op("Clip", _add(c, x, 3), c.const(0, x), c.const(6, x)), c.const(6, x)))


def _mish(c: Composer, x: ir.Value) -> ir.Value:
    return c.op("Mul", x, c.op("Tanh", _softplus_of(c, x)))


def _swish(c: Composer, x: ir.Value) -> ir.Value:
    alpha = c.attribute("alpha", 1.0)
    return c.op("Mul", x, c.op("Sigmoid", x if alpha == 1 else _times(c, x, alpha)))


def _thresholded_relu(c: Composer, x: ir.Value) -> ir.Value:
    above = c.op("Greater", x, c.const(c.attribute("alpha", 1.0), x), dtype=ir.DataType.BOOL)
    return _where(c, above, x, c.const(0, x))


def _gelu(c: Composer, x: ir.Value) -> ir.Value:
    if c.attribute("approximate", "none") == "none":
        half = c.op("Erf", _times(c, x, math.sqrt(0.5)))
    else:
        cubic = c.op("Add", x, _times(c, c.op("Mul", c.op("Mul", x, x), x), 0.044715))
        half = c.op("Tanh", _times(c, cubic, math.sqrt(2 / math.pi)))
    return _times(c, c.op("Mul", x, _add(c, half, 1)), 0.5)


# Trigonometric and hyperbolic functions


def _tan(c: Composer, x: ir.Value) -> ir.Value:
    return c.op("Div", c.op("Sin", x), c.op("Cos", x))


def _cosh(c: Composer, x: ir.Value) -> ir.Value:
    """As e * e / 2 + 1 / (2 * e * e) with e = exp(|x| / 2), so that nothing overflows before the result does."""
    e = c.op("Exp", _times(c, c.op("Abs", x), 0.5))
    half = _times(c, e, 0.5)
    return c.op("Add", c.op("Mul", half, e), c.op("Div", c.op("Div", c.const(0.5, x), e, shape=x.shape), e))


def _sinh(c: Composer, x: ir.Value) -> ir.Value:
    return c.op("Mul", c.op("Tanh", x), _cosh(c, x))


def _asinh(c: Composer, x: ir.Value) -> ir.Value:
    """As sign(x) * log1p(a + a^2 / (1 + sqrt(a^2 + 1))) with a = |x|; log(a) + log(2) where a^2 would overflow."""
    a = c.op("Abs", x)
    small = c.op("Min", a, c.const(1e9, x))
    square = c.op("Mul", small, small)
    root = c.op("Sqrt", _add(c, square, 1))
    near = _log1p(c, c.op("Add", small, c.op("Div", square, _add(c, root, 1))))
    far = _add(c, c.op("Log", a), math.log(2))
    magnitude = _where(c, c.op("Greater", a, c.const(1e9, x), dtype=ir.DataType.BOOL), far, near)
    return _keep_zero(c, x, c.op("Mul", c.op("Sign", x), magnitude))


def _acosh(c: Composer, x: ir.Value) -> ir.Value:
    """As log1p(t + sqrt(t) sqrt(t + 2)) with t = x - 1; log(x) + log(2) where that would overflow."""
    t = _add(c, c.op("Min", x, c.const(1e9, x)), -1)
    near = _log1p(c, c.op("Add", t, c.op("Mul", c.op("Sqrt", t), c.op("Sqrt", _add(c, t, 2)))))
    far = _add(c, c.op("Log", x), math.log(2))
    return _where(c, c.op("Greater", x, c.const(1e9, x), dtype=ir.DataType.BOOL), far, near)


def _atanh(c: Composer, x: ir.Value) -> ir.Value:
    """As log1p(2 x / (1 - x)) / 2, of |x| and with the sign put back, where it does not cancel."""
    a = c.op("Abs", x)
    ratio = c.op("Div", _times(c, a, 2), c.op("Sub", c.const(1, x), a, shape=x.shape))
    return _keep_zero(c, x, c.op("Mul", c.op("Sign", x), _times(c, _log1p(c, ratio), 0.5)))


def _atan(c: Composer, x: ir.Value) -> ir.Value:
    """One Newton step on the float32 result y: atan(r) = y + (r cos y - sin y) / (cos y + r sin y), r = x or 1 / x.

    The step leaves the cube of the float32 error, which is less than float64 resolves.
    """
    far = c.op("Greater", c.op("Abs", x), c.const(1, x), dtype=ir.DataType.BOOL)
    r = _where(c, far, c.op("Reciprocal", x), x)
    assert x.dtype is not None
    y = c.cast(c.op("Atan", c.cast(r, ir.DataType.FLOAT)), x.dtype)
    sin, cos = c.op("Sin", y), c.op("Cos", y)
    step = c.op("Div", c.op("Sub", c.op("Mul", r, cos), sin), c.op("Add", cos, c.op("Mul", r, sin)))
    near = c.op("Add", y, step)
    quarter = _where(c, _less(c, x, 0), c.const(-math.pi / 2, x), c.const(math.pi / 2, x))
    return _keep_zero(c, x, _where(c, far, c.op("Sub", quarter, near), near))


def _asin(c: Composer, x: ir.Value) -> ir.Value:
    """As atan(x / sqrt((1 - x) (1 + x)))."""
    one = c.const(1, x)
    root = c.op("Sqrt", c.op("Mul", c.op("Sub", one, x, shape=x.shape), _add(c, x, 1)))
    return _atan(c, c.op("Div", x, root))


def _acos(c: Composer, x: ir.Value) -> ir.Value:
    """As 2 atan(sqrt((1 - x) / (1 + x)))."""
    ratio = c.op("Div", c.op("Sub", c.const(1, x), x, shape=x.shape), _add(c, x, 1))
    return _times(c, _atan(c, c.op("Sqrt", ratio)), 2)


# The error function


_ERF_STEP = 1 / 8
_ERF_KNOTS = np.arange(0, 6 + _ERF_STEP, _ERF_STEP)  # erf is 1 from 6 on


def _erf(c: Composer, x: ir.Value) -> ir.Value:
    """From the nearest knot a, with h = x - a: erf(a) + 2/sqrt(pi) exp(-a^2) * integral of exp(-2 a s - s^2) to h.

    The integrand is so smooth over half a step that seven Gauss-Legendre points give it to the last bit.
    """
    assert x.dtype is not None
    magnitude = c.op("Min", c.op("Abs", x), c.const(_ERF_KNOTS[-1], x))
    nan = c.op("IsNaN", x, dtype=ir.DataType.BOOL)
    place = c.op("Round", _times(c, magnitude, 1 / _ERF_STEP))
    place = _where(c, nan, c.const(0, x), place)
    index = c.cast(place, ir.DataType.INT64)
    at_knot = c.op("Gather", c.const([math.erf(a) for a in _ERF_KNOTS], x), index, shape=x.shape, axis=0)
    slope = c.op("Gather", c.const(2 / math.sqrt(math.pi) * np.exp(-(_ERF_KNOTS**2)), x), index, shape=x.shape, axis=0)

    knot = _times(c, place, _ERF_STEP)
    step = c.op("Sub", magnitude, knot)
    points, weights = np.polynomial.legendre.leggauss(7)
    last = c.ints([-1])
    wide = [*dimensions(x), 1]
    each = [*dimensions(x), len(points)]
    s = c.op("Mul", c.op("Unsqueeze", step, last, shape=wide), c.const((points + 1) / 2, x), shape=each)
    twice = c.op("Unsqueeze", _times(c, knot, 2), last, shape=wide)
    integrand = c.op("Exp", c.op("Neg", c.op("Mul", s, c.op("Add", s, twice))))
    weighted = c.op("Mul", integrand, c.const(weights / 2, x))
    mean = c.op("ReduceSum", weighted, c.ints([len(wide) - 1]), shape=x.shape, keepdims=0)
    magnitude = c.op("Add", at_knot, c.op("Mul", slope, c.op("Mul", step, mean)))
    return _keep_zero(c, x, c.op("Mul", c.op("Sign", x), magnitude))


# Others


def _p_relu(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    x, slope = node.inputs
    assert x is not None
    assert slope is not None
    return [_where(c, _less(c, x, 0), c.op("Mul", x, slope), x)]


def _relu(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    x = node.inputs[0]
    assert x is not None
    if x.dtype in UNSIGNED:
        return [c.op("Identity", x)]
    return [c.op("Max", x, c.const(0, x))]


def _gemm(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    """As alpha A' B' + beta C, with whole alpha and beta."""
    a, b, *rest = node.inputs
    assert a is not None
    assert b is not None
    alpha, beta = c.attribute("alpha", 1.0), c.attribute("beta", 1.0)
    if not float(alpha).is_integer() or not float(beta).is_integer():
        raise Declined("alpha and beta have to be whole numbers")
    sides = []
    for value, name in ((a, "transA"), (b, "transB")):
        flipped = c.attribute(name, 0)
        sides.append(c.op("Transpose", value, shape=dimensions(value)[::-1], perm=[1, 0]) if flipped else value)
    shape = node.outputs[0].shape
    product = c.op("MatMul", *sides, shape=shape)
    if alpha != 1:
        product = _times(c, product, int(alpha))
    bias = rest[0] if rest else None
    if bias is None or beta == 0:
        return [product]
    return [c.op("Add", product, bias if beta == 1 else _times(c, bias, int(beta)), shape=shape)]


def _one_hot(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    """Where(OneHot of 0 and 1, on, off)."""
    indices, depth, values = node.inputs
    assert indices is not None
    assert depth is not None
    assert values is not None
    shape = node.outputs[0].shape
    int64 = ir.DataType.INT64
    hot = c.op(
        "OneHot",
        c.cast(indices, int64),
        c.cast(depth, int64),
        c.ints([0, 1]),
        axis=c.attribute("axis", -1),
        shape=shape,
    )
    off, on = (c.op("Gather", values, c.const(np.int64(i)), shape=(), axis=0) for i in (0, 1))
    return [_where(c, c.cast(hot, ir.DataType.BOOL), on, off)]


def _global_pool(op_type: str) -> Compose:
    def compose(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
        x = node.inputs[0]
        assert x is not None
        axes = c.ints(range(2, len(dimensions(x))))
        return [c.op(op_type, x, axes, shape=node.outputs[0].shape, keepdims=1)]

    return compose


def _instance_normalization(c: Composer, node: ir.Node) -> Sequence[ir.Value]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, for each instance and channel."""
    x, scale, bias = node.inputs
    assert x is not None
    assert scale is not None
    assert bias is not None
    sizes = dimensions(x)
    axes = c.ints(range(2, len(sizes)))
    one_each = [*sizes[:2], *[1] * (len(sizes) - 2)]
    centred = c.op("Sub", x, c.op("ReduceMean", x, axes, shape=one_each, keepdims=1))
    variance = c.op("ReduceMean", c.op("Mul", centred, centred), axes, shape=one_each, keepdims=1)
    deviation = c.op("Sqrt", _add(c, variance, c.attribute("epsilon", np.float32(1e-5))))
    # Scale and bias get their channels in the place that they have in x.
    inner = c.ints(range(1, len(sizes) - 1))
    scale, bias = (c.op("Unsqueeze", v, inner, shape=[sizes[1], *[1] * (len(sizes) - 2)]) for v in (scale, bias))
    return [c.op("Add", c.op("Mul", c.op("Div", centred, deviation), scale), bias)]


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
}
"""For each operator, how to write it. Tried where no kernel and no detour is left."""
