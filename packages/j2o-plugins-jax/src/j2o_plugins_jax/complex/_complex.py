"""Operations on complex numbers, as operations on the real arrays that encode them: products, gather, all tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._plugin import plugin
from ._arithmetic import ARITHMETIC, is_complex, pair, pairs, parts
from ._fourier import fft
from ._functions import FUNCTIONS
from ._reductions import REDUCTIONS


def _dot_general(eqn: Any, *arrays: Any) -> Any:
    (a, b), (c, d) = pairs(eqn, arrays)
    product = _of_parts(eqn)
    lhs, rhs = map(is_complex, eqn.invars)
    if not rhs:
        return pair(product(a, c), product(b, c))
    if not lhs:
        return pair(product(a, c), product(a, d))
    return pair(product(a, c) - product(b, d), product(a, d) + product(b, c))


def _gather(eqn: Any, x: Any, indices: Any) -> Any:
    """Each part by itself; what lies outside is filled with NaN, which is a real number, or with what is asked for."""
    fill = eqn.params["fill_value"]
    fills = (None, 0) if fill is None else (np.real(fill), np.imag(fill))
    return pair(
        *(
            eqn.primitive.bind(part, indices, **{**eqn.params, "fill_value": value})
            for part, value in zip(parts(x), fills, strict=True)
        )
    )


def _conv_general_dilated(eqn: Any, *arrays: Any) -> Any:
    """Three products instead of four, after Gauss; they are JAX's, with the sums rounded before they are widened."""
    (a, b), (c, d) = pairs(eqn, arrays)
    product = _of_parts(eqn)
    common = product(a + b, c)
    return pair(common - product(b, c + d), common + product(a, d - c))


def _of_parts(eqn: Any) -> Callable[[Any, Any], Any]:
    """The product that an equation is, on parts of its operands."""
    params = dict(eqn.params)
    if params.get("preferred_element_type") is not None:
        wide = np.dtype(params["preferred_element_type"])
        params["preferred_element_type"] = np.finfo(wide).dtype if wide.kind == "c" else wide
    dtype = np.finfo(eqn.outvars[0].aval.dtype).dtype
    return lambda left, right: eqn.primitive.bind(left, right, **params).astype(dtype)


_RULES: dict[str, Callable[..., Any]] = {
    **ARITHMETIC,
    **FUNCTIONS,
    **REDUCTIONS,
    "dot_general": _dot_general,
    "conv_general_dilated": _conv_general_dilated,
    "gather": _gather,
    "fft": fft,
}
for _name, _rule in _RULES.items():
    plugin.encoded(_name, "complex")(_rule)
