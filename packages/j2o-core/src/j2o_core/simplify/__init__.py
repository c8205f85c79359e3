"""Simplify: jaxpr to jaxpr. Inline calls, make keys and complex numbers real, fold constants, drop dead code."""

from typing import Any

from ..trace._lazy import is_lazy
from ._dead_code import drop_dead_code
from ._decompose import Decompositions, decompositions_of
from ._fold import FOLD_LIMIT_BYTES, ConstantTable, fold_constants
from ._function_primitive import function_p
from ._functions import FunctionCalls
from ._inline import decompose, inline_calls
from ._kept import close_weights, fixed_weights, open_weights
from ._narrow import narrow
from ._narrowing import NARROWED, Narrowing, narrowed
from ._real import make_real

__all__ = [
    "FOLD_LIMIT_BYTES",
    "NARROWED",
    "ConstantTable",
    "Decompositions",
    "FunctionCalls",
    "Narrowing",
    "close_weights",
    "decompositions_of",
    "drop_dead_code",
    "fold_constants",
    "function_p",
    "inline_calls",
    "make_real",
    "narrow",
    "narrowed",
    "simplify",
]


def simplify(
    jaxpr: Any,
    constants: ConstantTable | None = None,
    decompositions: Decompositions | None = None,
    *,
    keep_weights: bool = False,
    narrowing: Narrowing | None = None,
) -> Any:
    """The simplified closed jaxpr; jaxprs inside control flow are simplified alike.

    Args:
        jaxpr: a closed jaxpr.
        constants: names of constants; names of folded ones are added to it.
        decompositions: the JAX code of primitives, and of those on encoded values.
        keep_weights: whether named constants become inputs, behind the others; `constants.kept` has them then. Those
            that are not in memory do so always.
        narrowing: how float32 becomes a narrower dtype, if it does.
    """
    constants = constants if constants is not None else ConstantTable({})
    decompositions = decompositions or Decompositions()
    # Dead code first: an unused equation is neither folded nor reported as unsupported.
    stopped: set[Any] = set()
    opens = keep_weights or any(map(is_lazy, jaxpr.consts))
    inlined = inline_calls(jaxpr, stopped if opens else None, constants.functions)
    if opens:
        inlined, constants.kept = open_weights(inlined, constants, stopped, only_lazy=not keep_weights)
        constants.fixed = fixed_weights(inlined, constants)
    dropped = drop_dead_code(inlined)
    folded = fold_constants(dropped, constants)
    if narrowing is not None:
        folded = fold_constants(drop_dead_code(narrow(folded, constants, narrowing)), constants)
    # A primitive of constants is a constant: the code of the others comes after.
    expanded = make_real(decompose(folded, decompositions), constants, decompositions.encoded)
    if expanded is not folded:
        folded = fold_constants(drop_dead_code(expanded), constants)
    result = dropped if folded is dropped else drop_dead_code(folded)
    constants.set_simplified(result)
    return result
