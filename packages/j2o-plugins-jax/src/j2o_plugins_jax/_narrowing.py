"""How primitives are computed where a program is exported with `dtype="float16"` or `"bfloat16"`."""

from __future__ import annotations

from typing import Any

import jax

from ._attention import attention
from ._plugin import plugin

_AS_OPERANDS = (
    # Arithmetic that loses no more than one rounding.
    "add", "add_any", "sub", "div", "neg", "abs", "sign", "max", "min", "clamp", "floor", "ceil", "round",
    "is_finite", "eq", "ne", "lt", "le", "gt", "ge", "select_n", "tanh", "logistic", "erf", "erfc",
    # Changes of layout, and parts of arrays.
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "rev", "concatenate", "pad", "slice", "split",
    "stack", "unstack", "tile", "gather", "dynamic_slice", "dynamic_update_slice", "scatter", "copy", "copy_p",
    # One of the elements.
    "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "cummax", "cummin", "argmax", "argmin",
    "sort", "top_k",
)  # fmt: skip

_SUMS = "a sum over many elements"
_GROWS = "it leaves the range of a narrow dtype, or small relative errors of its operand grow"
_FLOAT32 = {
    _SUMS: ("reduce_sum", "reduce_window_sum", "cumsum", "scatter-add", "scatter_add", "select_and_scatter_add"),
    "a product of many elements": ("reduce_prod", "cumprod", "scatter-mul", "scatter_mul"),
    "a sum of exponentials": ("cumlogsumexp",),
    _GROWS: (
        "exp", "exp2", "expm1", "log", "log1p", "pow", "integer_pow", "square", "sqrt", "rsqrt", "cbrt",
        "sinh", "cosh", "tan", "asin", "acos", "atan", "atan2", "asinh", "acosh", "atanh", "erf_inv",
        "lgamma", "digamma", "igamma", "igammac", "rem",
    ),
    "integers beyond 2048, or 256 in bfloat16, are no numbers of a narrow dtype": ("iota", "convert_element_type"),
}  # fmt: skip


def _product(eqn: Any) -> str:
    """A product of two arrays; that of an array with itself is a square, whose sum follows."""
    lhs, rhs = eqn.invars[:2]
    return "float32" if lhs is rhs or _asks_for_more(eqn.params.get("precision")) else "narrow"


def _asks_for_more(precision: Any) -> bool:
    """Whether a product asks for the highest precision, or for an algorithm by its dtypes."""
    if isinstance(precision, tuple):
        return any(map(_asks_for_more, precision))
    return precision not in (None, jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGH)


def _multiplied(eqn: Any) -> str:
    lhs, rhs = eqn.invars
    return "float32" if lhs is rhs else "operands"


for _name in _AS_OPERANDS:
    plugin.precision(_name, "operands")
for _why, _names in _FLOAT32.items():
    for _name in _names:
        plugin.precision(_name, "float32", _why)
for _name in ("sin", "cos"):
    plugin.precision(_name, "inside", "an error of a large angle is an error of the result")
plugin.precision("mul", _multiplied, "a square")
for _name in ("dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general"):
    plugin.precision(_name, _product, "a square, or a precision that was asked for")
plugin.precision(attention, "inside", "its softmax, whose numbers the operator keeps to itself")
