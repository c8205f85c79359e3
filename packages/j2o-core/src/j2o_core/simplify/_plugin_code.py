"""Errors of the JAX code that plugins have for equations: decompositions, and rules on encoded values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import InconclusiveDimensionOperation

from .._compat import is_symbolic, printed_name
from .._errors import J2oError, LoweringError, UnsupportedError
from ..plugin._rule_mistakes import defined_at
from ..trace._failure import raised_at
from ..trace._source import user_line

DECOMPOSITION = "The decomposition of {name}"
ENCODED_RULE = "The rule for {name} on complex numbers or keys"

_PLACES = """
  in the code at {code}
  for the equation at {line}
Correct the code if it is yours; else it is a fault of the plugin that has it: please report it."""


def failed(what: str, code: Callable[..., Any] | None, eqn: Any, error: Exception) -> J2oError:
    """The error to raise if code of a plugin cannot be traced.

    Args:
        what: `DECOMPOSITION` or `ENCODED_RULE`.
        code: the function, if it is a plugin's.
        eqn: the equation in whose place it is.
        error: the error that it raised.
    """
    said = str(error).partition("\n")[0]
    if isinstance(error, InconclusiveDimensionOperation):
        return UnsupportedError(
            f"{printed_name(eqn)} at {user_line(eqn)}: JAX has to know more about the sizes. {said} "
            "Say what is known of them, such as constraints=['T >= 2']."
        )
    where = raised_at(error) or _line(code)
    return LoweringError(
        f"{what.format(name=eqn.primitive.name)} raised {type(error).__name__}: {said}"
        + _PLACES.format(code=where, line=user_line(eqn))
    )


def check_results(
    what: str, code: Callable[..., Any] | None, eqn: Any, avals: Sequence[Any], wanted: Sequence[Any]
) -> None:
    """Raise unless code of a plugin gives the results that its equation has: their number, dtypes and known sizes.

    Args:
        what: `DECOMPOSITION` or `ENCODED_RULE`.
        code: the function, if it is a plugin's.
        eqn: the equation in whose place it is.
        avals: those of the results of the code.
        wanted: those of the results of the equation.
    """
    if len(avals) == len(wanted) and all(map(_may_equal, avals, wanted)):
        return
    raise LoweringError(
        f"{what.format(name=eqn.primitive.name)} returned {_text(avals)}, the equation's "
        f"result{' is' if len(wanted) == 1 else 's are'} {_text(wanted)}."
        + _PLACES.format(code=_line(code), line=user_line(eqn))
    )


def _may_equal(aval: Any, want: Any) -> bool:
    """Whether two avals have one dtype, one rank, and no known sizes that differ."""
    if aval.dtype != want.dtype or len(aval.shape) != len(want.shape):
        return False
    pairs = zip(aval.shape, want.shape, strict=True)
    return all(is_symbolic(size) or is_symbolic(other) or int(size) == int(other) for size, other in pairs)


def _text(avals: Sequence[Any]) -> str:
    texts = [aval.str_short() for aval in avals]
    if not texts:
        return "nothing (without a return?)"
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _line(code: Callable[..., Any] | None) -> str:
    return (defined_at(code) if code is not None else None) or "a line without source"
