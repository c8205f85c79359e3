"""Simplify: jaxpr to jaxpr. Inline calls, fold constants, drop dead code."""

from typing import Any

from ._dead_code import drop_dead_code
from ._fold import ConstantTable, fold_constants
from ._inline import inline_calls

__all__ = ["ConstantTable", "drop_dead_code", "fold_constants", "inline_calls", "simplify"]


def simplify(jaxpr: Any, constants: ConstantTable | None = None) -> Any:
    """The simplified closed jaxpr; jaxprs inside control flow are simplified alike.

    Args:
        jaxpr: a closed jaxpr.
        constants: names of constants; names of folded ones are added to it.
    """
    constants = constants if constants is not None else ConstantTable({})
    # Dead code first: what nobody reads is neither folded nor reported as unsupported.
    return drop_dead_code(fold_constants(drop_dead_code(inline_calls(jaxpr)), constants))
