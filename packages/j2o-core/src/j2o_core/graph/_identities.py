"""Arithmetic and logic whose result is an operand, or known, for every value (NaN and signed zeros included).

    Sub(x, 0) -> x          And(x, false) -> false          Mul(i, 0) -> 0
    Max(x, x) -> x          Less(x, x) -> false             Sub(i, i) -> 0

with integers i. `j2o_core.simplify` knows the same of equations; these come of lowerings and rewrites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from . import traits
from ._constants import Constants
from ._infer import infer_shapes, same_shape
from ._values import numpy_dtype, one_number, shape_of

Inputs = Sequence["ir.Value | None"]

_MOST_NUMBERS = 4096  # of a constant result
_TRUE_OF_EQUALS = ("Equal", "LessOrEqual", "GreaterOrEqual")


def operand_or_constant(op_type: str) -> Callable[[Constants, Inputs, dict[str, Any]], ir.Value | None]:
    """The rule of an operator of two operands."""

    def rule(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | None:
        if len(inputs) != 2:
            return None
        left, right = inputs
        if left is None or right is None:
            return None
        if left is right:
            return _of_itself(constants, op_type, left)
        for x, other in ((left, right), (right, left)):
            number = one_number(constants.array(other))
            if number is None or (number.dtype.kind not in "biuf" and number.dtype.name != "bfloat16"):
                continue
            is_left = other is left
            if _is_neutral(op_type, number, is_left) and same_shape(shape_of(x), _shape(op_type, inputs)):
                return x
            if _absorbs(op_type, number, is_left):
                return _constant(constants, number, _shape(op_type, inputs))
        return None

    return rule


def _of_itself(constants: Constants, op_type: str, x: ir.Value) -> ir.Value | None:
    if op_type in ("And", "Or", "BitwiseAnd", "BitwiseOr", "Max", "Min"):
        return x
    is_exact = x.dtype is not None and (x.dtype.is_integer() or x.dtype is ir.DataType.BOOL)
    if op_type in ("Less", "Greater") or (op_type in _TRUE_OF_EQUALS and is_exact):
        return _constant(constants, np.bool_(op_type in _TRUE_OF_EQUALS), shape_of(x))
    if op_type in ("Sub", "Xor", "BitwiseXor") and is_exact:
        return _constant(constants, numpy_dtype(x).type(0), shape_of(x))
    return None


def _is_neutral(op_type: str, number: Any, is_left: bool) -> bool:
    if op_type not in traits.NEUTRAL or number != traits.NEUTRAL[op_type]:
        return False
    if is_left and op_type not in traits.COMMUTATIVE:
        return False
    # -0 + 0 is 0, and -0 - -0 too.
    is_float = number.dtype.kind not in "biu"
    return not is_float or op_type not in ("Add", "Sub") or bool(np.signbit(number)) == (op_type == "Add")


def _absorbs(op_type: str, number: Any, is_left: bool) -> bool:
    if op_type == "Pow":
        return is_left and bool(number == 1)
    if number.dtype.kind in "iu":
        return op_type in ("Mul", "BitwiseAnd") and bool(number == 0)
    return op_type in ("And", "Or") and bool(number) == (op_type == "Or")


def _constant(constants: Constants, number: Any, shape: Sequence[Any] | None) -> ir.Value | None:
    if shape is None or not all(isinstance(size, int) for size in shape) or np.prod(shape) > _MOST_NUMBERS:
        return None
    return constants.get(np.full(shape, number))


def _shape(op_type: str, inputs: Inputs) -> Any:
    (shape,) = infer_shapes(op_type, inputs, {}, 1, lambda value: None)
    return shape
