"""Equations whose result is one of their operands, or known, for every value (NaN and signed zeros included)."""

from __future__ import annotations

from collections.abc import Callable
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
    if name in _OF_EQUALS and left is right:
        return left
    for operand, other in ((left, right), (right, left)):
        if other is left and name in _ON_THE_RIGHT:
            continue
        if _fits(operand, eqn) and _holds(_NEUTRAL[name], other, known):
            return operand
    return None


def known_result(eqn: Any, known: dict[Any, Any]) -> Any | None:
    """The number that every element of an equation's only result has, whatever the unknown operands are, or None."""
    name = eqn.primitive.name
    if name in _OF_ITSELF and eqn.invars[0] is eqn.invars[1]:
        number, only_of_integers = _OF_ITSELF[name]
        dtype = eqn.invars[0].aval.dtype
        return number if not only_of_integers or (not is_extended_dtype(dtype) and dtype.kind in "biu") else None
    if name in _ABSORBING:
        for atom in eqn.invars[: 1 if name == "pow" else 2]:
            if _holds(_ABSORBING[name], atom, known) and (value := _known(atom, known)) is not None and value.size:
                return value.reshape(-1)[0]
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


def _holds(predicate: Callable[[np.ndarray[Any, Any]], Any], atom: Any, known: dict[Any, Any]) -> bool:
    """Whether an atom is a constant, of real numbers or booleans, for which a predicate holds."""
    value = _known(atom, known)
    if value is None or (value.dtype.kind not in "biuf" and value.dtype.name != "bfloat16"):
        return False
    return bool(predicate(value))


def _is_one(value: np.ndarray[Any, Any]) -> Any:
    return (value == 1).all()


def _is_zero(value: np.ndarray[Any, Any]) -> Any:
    return (value == 0).all() and (_is_integer(value) or not np.signbit(value).any())


def _adds_nothing(value: np.ndarray[Any, Any]) -> Any:
    """Of floats it is -0: the sum of 0 and -0 is 0."""
    return (value == 0).all() and (_is_integer(value) or np.signbit(value).all())


def _has_all_bits(value: np.ndarray[Any, Any]) -> Any:
    return (value == np.invert(np.zeros((), value.dtype))).all()


def _is_integer(value: np.ndarray[Any, Any]) -> bool:
    return value.dtype.kind in "biu"


def _lowest(value: np.ndarray[Any, Any]) -> Any:
    return (value == (np.iinfo(value.dtype).min if value.dtype.kind in "iu" else -np.inf)).all()


def _highest(value: np.ndarray[Any, Any]) -> Any:
    return (value == (np.iinfo(value.dtype).max if value.dtype.kind in "iu" else np.inf)).all()


def _of_integers(predicate: Callable[[np.ndarray[Any, Any]], Any]) -> Callable[[np.ndarray[Any, Any]], Any]:
    """A predicate of integers: among floats there may be NaN, which absorbs more."""
    return lambda value: _is_integer(value) and predicate(value)


_ON_THE_RIGHT = ("sub", "div", "pow", "shift_left", "shift_right_logical", "shift_right_arithmetic")
_OF_EQUALS = ("and", "or", "max", "min")

# Constants with which the result is the other operand.
_NEUTRAL = {
    "add": _adds_nothing,
    "sub": _is_zero,  # -0.0 - (-0.0) is 0.0
    "mul": _is_one,
    "div": _is_one,
    "pow": _is_one,
    "max": _lowest,
    "min": _highest,
    "and": _has_all_bits,
    "or": _is_zero,
    "xor": _is_zero,
    "shift_left": _is_zero,
    "shift_right_logical": _is_zero,
    "shift_right_arithmetic": _is_zero,
}

# Constants that every element of the result equals, whatever the other operand is; of powers those that are the base.
_ABSORBING = {
    "mul": _of_integers(_is_zero),
    "pow": _is_one,
    "max": _of_integers(_highest),
    "min": _of_integers(_lowest),
    "and": _is_zero,
    "or": _has_all_bits,
}

# The result of two operands that are one variable, and whether it is that of integers and booleans alone.
_OF_ITSELF = {
    "sub": (0, True),
    "xor": (0, True),
    "eq": (True, True),
    "ne": (False, True),
    "le": (True, True),
    "ge": (True, True),
    "lt": (False, False),
    "gt": (False, False),
}
