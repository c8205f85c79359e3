"""Arithmetic and logic whose result is an operand, or known, for every value (NaN and signed zeros included).

    Sub(x, 0) -> x          And(x, false) -> false          Mul(i, 0) -> 0
    Max(x, x) -> x          Less(x, x) -> false             Sub(i, i) -> 0

with integers i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..simplify._identities import OF_EQUALS, absorbs, is_neutral, is_real, of_itself, one_number
from ._constants import Constants
from ._infer import infer_shapes, same_shape
from ._values import numpy_dtype, shape_of

Inputs = Sequence["ir.Value | None"]

_MOST_NUMBERS = 4096  # of a constant result

NAMES = {
    **{"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Max": "max", "Min": "min"},
    **{"And": "and", "Or": "or", "Xor": "xor", "BitwiseAnd": "and", "BitwiseOr": "or", "BitwiseXor": "xor"},
    **{"Equal": "eq", "Less": "lt", "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge"},
    "BitShift": "shift_left",
}
"""The names that the primitives of JAX have."""


def operand_or_constant(op_type: str) -> Callable[[Constants, Inputs, dict[str, Any]], ir.Value | None]:
    """The rule of an operator of two operands."""
    name = NAMES[op_type]

    def rule(constants: Constants, inputs: Inputs, attrs: dict[str, Any]) -> ir.Value | None:
        if len(inputs) != 2:
            return None
        left, right = inputs
        if left is None or right is None:
            return None
        if left is right:
            number = of_itself(name, numpy_dtype(left))
            return left if name in OF_EQUALS else _constant(constants, number, shape_of(left))
        for x, other in ((left, right), (right, left)):
            number = one_number(constants.array(other))
            if number is None or not is_real(number):
                continue
            if is_neutral(name, number, on_the_right=other is right) and same_shape(
                shape_of(x), _shape(op_type, inputs)
            ):
                return x
            if absorbs(name, number, on_the_right=other is right):
                return _constant(constants, number, _shape(op_type, inputs))
        return None

    return rule


def _constant(constants: Constants, number: Any, shape: Sequence[Any] | None) -> ir.Value | None:
    if number is None or shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return constants.get(np.full(shape, number)) if math.prod(shape) <= _MOST_NUMBERS else None


def _shape(op_type: str, inputs: Inputs) -> Any:
    (shape,) = infer_shapes(op_type, inputs, {}, 1, lambda value: None)
    return shape
