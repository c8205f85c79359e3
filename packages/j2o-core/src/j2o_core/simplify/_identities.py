"""Equations whose result is one of their operands, exactly, for every value (NaN and signed zeros included)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._compat import Literal, is_extended_dtype, literal_value


def passes_on(eqn: Any, known: dict[Any, Any]) -> Any | None:
    """The operand that an equation's only result equals, or None."""
    name = eqn.primitive.name
    if name == "select_n":
        return _selected(eqn, known)
    if name == "convert_element_type":
        (atom,) = eqn.invars
        return atom if atom.aval.dtype == eqn.outvars[0].aval.dtype else None
    if name not in _NEUTRAL:
        return None
    left, right = eqn.invars
    for operand, other in ((left, right), (right, left)):
        if other is left and name in ("sub", "div"):
            continue
        if _fits(operand, eqn) and _is_neutral(name, other, known):
            return operand
    return None


def _selected(eqn: Any, known: dict[Any, Any]) -> Any | None:
    which, *cases = eqn.invars
    if all(_is_same(case, cases[0], known) for case in cases[1:]):  # such as the carry that no branch changes
        return cases[0]
    value = _known(which, known)
    if value is None or value.size == 0:
        return None
    first = value.reshape(-1)[0]
    if not (value == first).all() or not 0 <= int(first) < len(cases):
        return None
    return cases[int(first)]


def _is_same(atom: Any, other: Any, known: dict[Any, Any]) -> bool:
    """Whether two atoms of one type are one variable, or constants of equal bits."""
    if atom is other or is_extended_dtype(atom.aval.dtype):
        return atom is other
    one, two = _known(atom, known), _known(other, known)
    return one is not None and two is not None and one.tobytes() == two.tobytes()


def _fits(atom: Any, eqn: Any) -> bool:
    return not isinstance(atom, Literal) and atom.aval.shape == eqn.outvars[0].aval.shape


def _known(atom: Any, known: dict[Any, Any]) -> np.ndarray[Any, Any] | None:
    if isinstance(atom, Literal):
        return literal_value(atom)
    value = known.get(atom)
    # Comparing a large constant costs more than the operation that it might spare.
    return np.asarray(value) if value is not None and value.size <= 4096 else None


def _is_neutral(name: str, atom: Any, known: dict[Any, Any]) -> bool:
    value = _known(atom, known)
    if value is None or (value.dtype.kind not in "iuf" and value.dtype.name != "bfloat16"):
        return False
    return bool(_NEUTRAL[name](value))


def _lowest(value: np.ndarray[Any, Any]) -> Any:
    return (value == (np.iinfo(value.dtype).min if value.dtype.kind in "iu" else -np.inf)).all()


def _highest(value: np.ndarray[Any, Any]) -> Any:
    return (value == (np.iinfo(value.dtype).max if value.dtype.kind in "iu" else np.inf)).all()


_NEUTRAL = {
    "mul": lambda value: (value == 1).all(),
    "div": lambda value: (value == 1).all(),
    "sub": lambda value: (value == 0).all() and not np.signbit(value).any(),  # -0.0 - (-0.0) is 0.0
    "max": _lowest,
    "min": _highest,
}
