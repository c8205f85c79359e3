"""Ranges of values, as a graph shows them: bounds of the numbers, and whether NaN or -0 may be among them.

Sizes, indices and masks are small, and what is computed from them by additions, products and choices stays so. Integers
that may wrap around, and whatever is not known, may be any number of their type.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ..simplify._identities import one_number
from . import traits
from ._sizes import may_be_zero
from ._values import REAL_KINDS, is_integer, made_by, shape_of

ConstantOf = Callable[[ir.Value | None], "np.ndarray[Any, Any] | None"]

# Beyond this many nodes nothing is known.
_DEPTH = 12
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
# Tanh and Sigmoid of ONNX Runtime (1.32, float32) give up to two units in the last place more than 1.
_ABOUT_ONE = 1 + 2.0**-20
# No tensor has more elements along an axis, or places to point at.
_LARGEST_COUNT = 2**31 - 1


class Range(NamedTuple):
    """Facts about every element of a value.

    Attributes:
        low: no element is less; an `int` for integers.
        high: no element is greater. Neither counts NaN.
        nan: whether an element may be NaN.
        negative_zero: whether an element may be -0.
    """

    low: float
    high: float
    nan: bool = False
    negative_zero: bool = False

    def within(self, low: float, high: float) -> bool:
        """Whether every element is a number from `low` to `high`."""
        return not self.nan and low <= self.low and self.high <= high


ANYTHING = Range(-math.inf, math.inf, nan=True, negative_zero=True)


def value_range(value: ir.Value | None, constant: ConstantOf) -> Range:
    """The range of a value; `constant` gives the array of a constant, None for other values."""
    return _Query(constant).of(value, _DEPTH)


def dtype_range(dtype: ir.DataType | None) -> Range:
    """The range of a type."""
    if dtype is ir.DataType.BOOL:
        return Range(0, 1)
    if dtype is None or not dtype.is_integer():
        return ANYTHING
    info = ml_dtypes.iinfo(dtype.numpy())
    return Range(int(info.min), int(info.max))


# In `meta` of an input of a function: it is a size.
SIZE = "j2o_size"

# In `meta` of an input of a body: the least and the largest number that it is in any turn.
BOUNDS = "j2o_bounds"


# Operators whose results depend on more than ranges of operands.
_BY_NODE = frozenset({"BitShift", "Cast", "Mod", "ReduceMax", "ReduceMin", "Where", *traits.MOVES})


class _Query:
    def __init__(self, constant: ConstantOf):
        self._constant = constant
        self._known: dict[tuple[ir.Value, int], Range] = {}

    def of(self, value: ir.Value | None, depth: int) -> Range:
        if value is None:
            return ANYTHING
        key = value, depth
        if key not in self._known:
            array = self._constant(value)
            self._known[key] = self._of_node(value, depth) if array is None else _of_array(array)
        return self._known[key]

    def _of_node(self, value: ir.Value, depth: int) -> Range:
        node, limits = value.producer(), dtype_range(value.dtype)
        if SIZE in value.meta:
            return Range(0, _LARGEST_COUNT)
        if BOUNDS in value.meta:
            return Range(*value.meta[BOUNDS])
        if node is None or depth == 0:
            return limits
        if node.op_type in traits.COUNTS:
            return Range(0, _last_place(node))
        rule = _RULES.get(node.op_type)
        if rule is None and node.op_type not in _BY_NODE:  # such as a product: its weights are not read
            return limits
        operands = [self.of(operand, depth - 1) for operand in node.inputs if operand is not None]
        if node.op_type == "Cast":
            return _cast(operands[0], node.inputs[0], value)
        if node.op_type in traits.MOVES or (node.op_type in ("ReduceMax", "ReduceMin") and _has_elements(node)):
            return operands[0]
        if node.op_type == "Where" and (place := _place_without_nan(node)):
            operands[place] = operands[place]._replace(nan=False)
        if node.op_type == "Where" and self._replaces_zero(node):
            return _union([operands[1], operands[2]._replace(negative_zero=False)])
        if node.op_type == "Sub" and is_integer(value) and (number := self._divisor_of_rest(node)):
            return Range(0 if operands[0].low >= 0 else 1 - number, number - 1 if operands[0].high > 0 else 0)
        if node.op_type == "Mod":
            _, divisor = operands
            is_floored = "fmod" not in node.attributes or not node.attributes["fmod"].as_int()
            return Range(0, divisor.high - 1) if is_floored and divisor.low > 0 else limits
        if node.op_type == "BitShift" and node.attributes["direction"].as_string() == "RIGHT":
            x, by = operands
            return Range(int(x.low) >> int(by.high), int(x.high) >> int(by.low))
        return limits if rule is None else _in_dtype(rule(operands), value.dtype, limits)

    def _divisor_of_rest(self, node: ir.Node) -> int:
        """The n > 0 of i - i / n * n, where the quotient is rounded towards zero; 0 of other differences."""
        i, product = node.inputs
        multiply = made_by(product, "Mul")
        if multiply is None:
            return 0
        for quotient, factor in (multiply.inputs[:2], multiply.inputs[1::-1]):
            divide, number = made_by(quotient, "Div"), one_number(self._constant(factor))
            if divide is None or divide.inputs[0] is not i or number is None:
                continue
            if number == one_number(self._constant(divide.inputs[1])):
                return max(int(number), 0)
        return 0

    def _replaces_zero(self, node: ir.Node) -> bool:
        """Where(Equal(x, 0), other, x): zeros of either sign are replaced."""
        condition, _, x = node.inputs
        equal = made_by(condition, "Equal")
        if equal is None or x not in equal.inputs:
            return False
        zeros = [array for array in map(self._constant, equal.inputs) if array is not None]
        return len(zeros) == 1 and not zeros[0].astype(np.float64).any() and zeros[0].size > 0


def _place_without_nan(node: ir.Node) -> int:
    """The place of x in Where(x == x, x, other) and Where(x != x, other, x), of IsNaN too; 0 in others."""
    test, place = made_by(node.inputs[0]), 1
    if test is not None and test.op_type == "Not":
        test, place = made_by(test.inputs[0]), 2
    if test is None or test.domain or (test.op_type, place) not in (("Equal", 1), ("Equal", 2), ("IsNaN", 1)):
        return 0
    place = 2 if test.op_type == "IsNaN" else place
    return place if all(value is node.inputs[place] for value in test.inputs) else 0


def _last_place(node: ir.Node) -> int:
    """The largest count that a node gives: of ArgMax and ArgMin the last place along their axis."""
    x = node.inputs[0]
    if node.op_type not in traits.ARG_REDUCTIONS or x is None or x.shape is None:
        return _LARGEST_COUNT
    size = x.shape[node.attributes["axis"].as_int() if "axis" in node.attributes else 0]
    return max(size - 1, 0) if isinstance(size, int) else _LARGEST_COUNT


def _has_elements(node: ir.Node) -> bool:
    """Of an operand without elements, the extremes are those of its type, as of `N - 1` numbers where N is 1."""
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    return shape is not None and not any(isinstance(size, str) or may_be_zero(size) for size in shape)


def _of_array(array: np.ndarray[Any, Any]) -> Range:
    if array.dtype.kind not in f"{REAL_KINDS}b":
        return ANYTHING
    if not array.size:
        return dtype_range(ir.DataType.from_numpy(array.dtype))
    if array.dtype.kind in "iub":
        return Range(int(array.min()), int(array.max()))
    wide: np.ndarray[Any, Any] = array.astype(np.float64)
    zero = bool((np.signbit(wide) & (wide == 0)).any())
    low, high = float(wide.min()), float(wide.max())
    if low <= high:
        return Range(low, high, negative_zero=zero)
    nan = np.isnan(wide)
    if nan.all():
        return Range(-math.inf, math.inf, nan=True)
    return Range(float(np.nanmin(wide)), float(np.nanmax(wide)), nan=True, negative_zero=zero)


def _cast(x: Range, source: ir.Value | None, result: ir.Value) -> Range:
    limits = dtype_range(result.dtype)
    from_float = source is None or source.dtype is None or source.dtype.is_floating_point()
    if result.dtype in _FLOATS:
        return _in_dtype(x._replace(negative_zero=x.negative_zero or (from_float and x.low < 0)), result.dtype, limits)
    if limits is ANYTHING or result.dtype is ir.DataType.BOOL or not x.within(limits.low, limits.high):
        return limits  # of float8 too, where what is too large may become NaN
    return Range(math.trunc(x.low), math.trunc(x.high))


def _in_dtype(x: Range, dtype: ir.DataType | None, limits: Range) -> Range:
    """A range after rounding, or wrapping around, to a type."""
    if dtype in _FLOATS:
        with np.errstate(over="ignore"):
            low, high = (float(np.float64(bound).astype(dtype.numpy())) for bound in (x.low, x.high))
        return Range(low, high, x.nan, x.negative_zero and low <= 0 <= high)
    return Range(x.low, x.high) if limits is not ANYTHING and x.within(limits.low, limits.high) else limits


def _union(operands: list[Range]) -> Range:
    return Range(
        min(x.low for x in operands),
        max(x.high for x in operands),
        any(x.nan for x in operands),
        any(x.negative_zero for x in operands),
    )


def _monotone(function: Callable[..., float]) -> Callable[[list[Range]], Range]:
    """A function that is monotone in each operand and gives one of its operands."""

    def rule(operands: list[Range]) -> Range:
        low, high = function([x.low for x in operands]), function([x.high for x in operands])
        return _union(operands)._replace(low=low, high=high)

    return rule


def _clip(bounds: list[float]) -> float:
    x, low, high = bounds
    return min(max(x, low), high)


def _corners(
    function: Callable[[Any, Any], Any], negative_zero: Callable[[Range, Range], bool]
) -> Callable[[list[Range]], Range]:
    """Addition and product: the extremes are among those of the extremes of the operands."""

    def rule(operands: list[Range]) -> Range:
        left, right = operands
        pairs = itertools.product(left[:2], right[:2])
        with np.errstate(invalid="ignore", over="ignore"):
            values = [function(*(np.float64(x) if isinstance(x, float) else x for x in pair)) for pair in pairs]
        infinite = any(math.isinf(bound) for bound in (*left[:2], *right[:2]))
        if any(math.isnan(x) for x in values if isinstance(x, float)):
            return ANYTHING
        return Range(min(values), max(values), left.nan or right.nan or infinite, negative_zero(left, right))

    return rule


def _keeps_zero(left: Range, right: Range) -> bool:
    """Whether a sum or difference may be the -0 of its first operand: -0 + 0 is 0, but runtimes take the 0 away."""
    return left.negative_zero and right.low <= 0 <= right.high


def _signed_product(left: Range, right: Range) -> bool:
    return any(x.low < 0 or x.negative_zero for x in (left, right))


def _neg(operands: list[Range]) -> Range:
    (x,) = operands
    return Range(-x.high, -x.low, x.nan, True)


def _abs(operands: list[Range]) -> Range:
    (x,) = operands
    return Range(max(x.low, -x.high, 0), max(-x.low, x.high), x.nan)


def _or(operands: list[Range]) -> Range:
    """Of numbers that are not negative: at least the larger one, at most their sum, and no other bits."""
    if any(x.low < 0 for x in operands):
        return ANYTHING
    ones = (1 << max(int(x.high).bit_length() for x in operands)) - 1
    return Range(max(x.low for x in operands), min(sum(x.high for x in operands), ones))


def _and(operands: list[Range]) -> Range:
    """Of numbers one of which is not negative: no bits but its own."""
    known = [x.high for x in operands if x.low >= 0]
    return Range(0, min(known)) if known else ANYTHING


def _compared(certain: Callable[[Range, Range], bool], excluded: Callable[[Range, Range], bool]) -> Any:
    """A comparison of integers; those of floats, where NaN is no number, may be either."""

    def rule(operands: list[Range]) -> Range:
        left, right = operands
        if not all(isinstance(bound, int) for bound in (*left[:2], *right[:2])):
            return Range(0, 1)
        return Range(int(certain(left, right)), int(not excluded(left, right)))

    return rule


def _is_below(left: Range, right: Range) -> bool:
    return left.high < right.low


def _is_not_above(left: Range, right: Range) -> bool:
    return left.high <= right.low


def _values(low: float, high: float, *, negative_zero: bool = True) -> Callable[[list[Range]], Range]:
    """A bounded function of finite numbers."""

    def rule(operands: list[Range]) -> Range:
        x = operands[0]
        return Range(low, high, x.nan or math.isinf(x.low) or math.isinf(x.high), negative_zero)

    return rule


def _log(operands: list[Range]) -> Range:
    (x,) = operands
    return Range(-math.inf, math.inf, x.nan or x.low < 0, "Log" not in traits.NO_NEGATIVE_ZERO)


_RULES: dict[str, Callable[[list[Range]], Range]] = {
    "Add": _corners(lambda x, y: x + y, lambda x, y: _keeps_zero(x, y) or _keeps_zero(y, x)),
    "Sub": _corners(lambda x, y: x - y, _keeps_zero),
    "Mul": _corners(lambda x, y: x * y, _signed_product),
    "Neg": _neg,
    "Abs": _abs,
    "Max": _monotone(max),
    "Min": _monotone(min),
    "Relu": lambda operands: _monotone(max)([*operands, Range(0, 0)]),
    "Clip": lambda operands: _monotone(_clip)(operands) if len(operands) == 3 else ANYTHING,
    "Where": lambda operands: _union(operands[1 + int(operands[0].high < 1) : 3 - int(operands[0].low > 0)]),
    "Concat": _union,
    "Less": _compared(_is_below, lambda x, y: _is_not_above(y, x)),
    "Greater": _compared(lambda x, y: _is_below(y, x), _is_not_above),
    "LessOrEqual": _compared(_is_not_above, lambda x, y: _is_below(y, x)),
    "GreaterOrEqual": _compared(lambda x, y: _is_not_above(y, x), _is_below),
    "Equal": _compared(
        lambda x, y: _is_not_above(x, y) and _is_not_above(y, x), lambda x, y: _is_below(x, y) or _is_below(y, x)
    ),
    "Not": lambda operands: Range(1 - operands[0].high, 1 - operands[0].low),
    "And": _monotone(min),
    "Or": _monotone(max),
    "BitwiseOr": _or,
    "BitwiseAnd": _and,
    "Tanh": _values(-_ABOUT_ONE, _ABOUT_ONE),
    "Sin": _values(-1, 1),
    "Cos": _values(-1, 1),
    "Sigmoid": _values(0, _ABOUT_ONE, negative_zero="Sigmoid" not in traits.NO_NEGATIVE_ZERO),
    "Softmax": _values(0, 1, negative_zero="Softmax" not in traits.NO_NEGATIVE_ZERO),
    "Exp": _values(0, math.inf, negative_zero="Exp" not in traits.NO_NEGATIVE_ZERO),
    "Log": _log,
    "Sign": _values(-1, 1, negative_zero="Sign" not in traits.NO_NEGATIVE_ZERO),
}
