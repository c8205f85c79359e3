"""Simplify: jaxpr to jaxpr. Inline calls, make keys and complex numbers real, fold constants, drop dead code."""

from typing import Any

from ._dead_code import drop_dead_code
from ._fold import ConstantTable, fold_constants
from ._inline import inline_calls
from ._real import make_real

__all__ = ["ConstantTable", "drop_dead_code", "fold_constants", "inline_calls", "make_real", "simplify"]


def simplify(jaxpr: Any, constants: ConstantTable | None = None) -> Any:
    """The simplified closed jaxpr; jaxprs inside control flow are simplified alike.

    Args:
        jaxpr: a closed jaxpr.
        constants: names of constants; names of folded ones are added to it.
    """
    constants = constants if constants is not None else ConstantTable({})
    # Dead code first: what nobody reads is neither folded nor reported as unsupported.
    jaxpr = make_real(drop_dead_code(inline_calls(jaxpr)), constants)
    return drop_dead_code(fold_constants(jaxpr, constants))
