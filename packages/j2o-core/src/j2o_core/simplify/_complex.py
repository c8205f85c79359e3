"""What operations on complex numbers are on the arrays that stand for them: all rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._complex_arithmetic import ARITHMETIC, is_complex, pair, pairs
from ._complex_functions import FUNCTIONS
from ._complex_reductions import REDUCTIONS
from ._fourier import fft


def _bilinear(eqn: Any, *arrays: Any) -> Any:
    """Anything linear in both operands: products of the parts."""
    (a, b), (c, d) = pairs(eqn, arrays)
    params = dict(eqn.params)
    if params.get("preferred_element_type") is not None:
        wide = np.dtype(params["preferred_element_type"])
        params["preferred_element_type"] = np.finfo(wide).dtype if wide.kind == "c" else wide

    def product(left: Any, right: Any) -> Any:
        return eqn.primitive.bind(left, right, **params)

    lhs, rhs = map(is_complex, eqn.invars)
    if not rhs:
        return pair(product(a, c), product(b, c))
    if not lhs:
        return pair(product(a, c), product(a, d))
    return pair(product(a, c) - product(b, d), product(a, d) + product(b, c))


COMPLEX_RULES: dict[str, Callable[..., Any]] = {
    **ARITHMETIC,
    **FUNCTIONS,
    **REDUCTIONS,
    "dot_general": _bilinear,
    "conv_general_dilated": _bilinear,
    "fft": fft,
}
