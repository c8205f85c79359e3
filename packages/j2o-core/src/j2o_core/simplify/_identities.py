"""Equations whose result is one of their operands, or known, for every value (NaN and signed zeros included).

`j2o_core.graph` asks the same of nodes, which lowerings and rewrites make.
"""

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
    if name in OF_EQUALS and left is right:
        return left
    for operand, other in ((left, right), (right, left)):
        if _fits(operand, eqn) and is_neutral(name, _number(other, known), on_the_right=other is right):
            return operand
    return None


def known_result(eqn: Any, known: dict[Any, Any]) -> Any | None:
    """The number that every element of an equation's only result has, whatever the unknown operands are, or None."""
    name = eqn.primitive.name
    if name in _OF_ITSELF and eqn.invars[0] is eqn.invars[1]:
        dtype = eqn.invars[0].aval.dtype
        return None if is_extended_dtype(dtype) else of_itself(name, dtype)
    if name in _ABSORBING:
        for place, atom in enumerate(eqn.invars):
            number = _number(atom, known)
            if absorbs(name, number, on_the_right=place == 1):
                return number
    return None


def is_neutral(name: str, number: Any, *, on_the_right: bool) -> bool:
    """Whether the result with a number, as one of two operands, is the other operand; None is no number."""
    predicate = _NEUTRAL.get(name)
    if predicate is None or number is None or (name in _ON_THE_RIGHT and not on_the_right):
        return False
    return bool(predicate(number))


def absorbs(name: str, number: Any, *, on_the_right: bool) -> bool:
    """Whether the result with a number, as one of two operands, is that number, whatever the other operand is."""
    predicate = _ABSORBING.get(name)
    if predicate is None or number is None or (name == "pow" and on_the_right):
        return False
    return bool(predicate(number))


def of_itself(name: str, dtype: np.dtype[Any]) -> Any | None:
    """The number that the result of two equal operands is, None if that depends on them."""
    if name not in _OF_ITSELF:
        return None
    number, only_of_integers = _OF_ITSELF[name]
    if only_of_integers and dtype.kind not in "biu":
        return None
    return np.bool_(number) if isinstance(number, bool) else dtype.type(number)


def one_number(array: np.ndarray[Any, Any] | None) -> Any:
    """The number that all elements of an array are, bit for bit; None for several or none."""
    if array is None or not array.size:
        return None
    first, last = array[(0,) * array.ndim], array[(-1,) * array.ndim]
    bits = first.tobytes()
    return first if bits == last.tobytes() and (array.size < 3 or bits * array.size == array.tobytes()) else None


def is_real(number: Any) -> bool:
    """Whether a scalar is a real number or a boolean of a dtype that arithmetic has."""
    return number.dtype.kind in "biuf" or number.dtype.name == "bfloat16"


def _selected(eqn: Any, known: dict[Any, Any]) -> Any | None:
    which, *cases = eqn.invars
    if all(_is_same(case, cases[0], known) for case in cases[1:]):  # such as the carry that no branch changes
        return cases[0]
    number = one_number(_known(which, known))
    return cases[int(number)] if number is not None and 0 <= number < len(cases) else None


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


def _number(atom: Any, known: dict[Any, Any]) -> Any | None:
    number = one_number(_known(atom, known))
    return number if number is not None and is_real(number) else None


def _is_one(number: Any) -> Any:
    return number == 1


def _is_zero(number: Any) -> Any:
    return number == 0 and (_is_integer(number) or not np.signbit(number))


def _adds_nothing(number: Any) -> Any:
    """Of floats it is -0: the sum of 0 and -0 is 0."""
    return number == 0 and (_is_integer(number) or np.signbit(number))


def _has_all_bits(number: Any) -> Any:
    return number == np.invert(number.dtype.type(0))


def _is_integer(number: Any) -> bool:
    return number.dtype.kind in "biu"


def _lowest(number: Any) -> Any:
    return number == (np.iinfo(number.dtype).min if number.dtype.kind in "iu" else -np.inf)


def _highest(number: Any) -> Any:
    return number == (np.iinfo(number.dtype).max if number.dtype.kind in "iu" else np.inf)


def _of_integers(predicate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A predicate of integers: among floats there may be NaN, which absorbs more."""
    return lambda number: _is_integer(number) and predicate(number)


_ON_THE_RIGHT = ("sub", "div", "pow", "shift_left", "shift_right_logical", "shift_right_arithmetic")
OF_EQUALS = ("and", "or", "max", "min")
"""Of equal operands the result is that operand."""

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
