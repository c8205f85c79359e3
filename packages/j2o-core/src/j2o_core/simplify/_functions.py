"""Calls that stay calls: one equation each, whose body waits until it is lowered, once for all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._compat import as_closed, has_lasting_effect
from ..trace._functions import Callee, Functions
from ._inline import inline_calls
from ._kept import open_weights


class Converted(NamedTuple):
    """A call: its parameters, and the weights that its body closed over, which become operands behind the others."""

    params: dict[str, Any]
    weights: list[Any]


class FunctionCalls:
    """Turns calls of chosen functions into equations of `function_p`.

    Args:
        functions: which are chosen.
        table: names of constants.
        keep_weights: whether weights inside of a body become operands.
    """

    def __init__(self, functions: Functions, table: Any, *, keep_weights: bool):
        self._functions = functions
        self._table = table
        self._keep_weights = keep_weights
        self._converted: dict[int, tuple[Any, Converted]] = {}

    def convert(self, eqn: Any) -> Converted | None:
        """The call as an equation of `function_p`, None if it is to be inlined."""
        callee = self._functions.callee(eqn)
        if callee is None or has_lasting_effect(eqn):
            return None
        closed = as_closed(eqn.params["jaxpr"])
        known = self._converted.get(id(closed))
        if known is None:
            known = self._converted[id(closed)] = closed, self._convert(closed, callee)
        return known[1]

    def _convert(self, closed: Any, callee: Callee) -> Converted:
        stopped: set[Any] = set()
        body = inline_calls(closed, stopped if self._keep_weights else None, self)
        kept: list[tuple[str, Any]] = []
        if self._keep_weights:
            body, kept = open_weights(body, self._table, stopped)
        operands = callee.operands if len(callee.operands) == len(closed.jaxpr.invars) else ()
        names = (*operands, *(name for name, _ in kept)) if operands else ()
        return Converted({"body": body, "callee": Callee(callee.name, names)}, [value for _, value in kept])
