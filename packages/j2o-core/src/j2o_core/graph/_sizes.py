"""Sizes: dimensions as numbers, and what the shapes of arrays say about symbolic ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import _compat


def evaluate_dimension(dimension: Any, sizes: dict[str, int]) -> int:
    """A dimension as a number, given the sizes of its symbols."""
    if not _compat.is_symbolic(dimension):
        return int(dimension)
    operations: dict[str, Callable[[int, int], int]] = {
        "floordiv": lambda a, b: a // b,
        "mod": lambda a, b: a % b,
        "max": max,
        "min": min,
    }
    total = 0
    for coefficient, factors in _compat.dim_terms(dimension):
        for factor, exponent in factors:
            if isinstance(factor, str):
                value = sizes[factor]
            else:
                value = operations[factor[0]](*(evaluate_dimension(d, sizes) for d in factor[1]))
            coefficient *= value**exponent
        total += coefficient
    return total


def linear_symbol(dimension: Any) -> tuple[str, int, int] | None:
    """(symbol, coefficient, offset) of a dimension `coefficient * symbol + offset`, None for all others."""
    if not _compat.is_symbolic(dimension):
        return None
    offset, found = 0, None
    for coefficient, factors in _compat.dim_terms(dimension):
        if not factors:
            offset = coefficient
        elif found is None and len(factors) == 1 and isinstance(factors[0][0], str) and factors[0][1] == 1:
            found = (factors[0][0], coefficient)
        else:
            return None
    return None if found is None else (*found, offset)


def symbol_sizes(shapes: Iterable[tuple[Sequence[Any], Sequence[int]]]) -> dict[str, int]:
    """Sizes of symbols that pairs of (declared shape, actual shape) of equal rank tell.

    The first axis that tells a symbol decides; a size that is no multiple of the coefficient tells nothing.
    """
    sizes: dict[str, int] = {}
    for declared, actual in shapes:
        for dimension, size in zip(declared, actual, strict=True):
            linear = linear_symbol(dimension)
            if linear is not None:
                symbol, coefficient, offset = linear
                count, rest = divmod(size - offset, coefficient)
                if not rest and count >= 0:
                    sizes.setdefault(symbol, count)
    return sizes


def broken_constraint(dimension: Any, sizes: dict[str, int]) -> str | None:
    """The first constraint given with a dimension that sizes break; those on other symbols are kept."""
    if not _compat.is_symbolic(dimension):
        return None
    for difference, is_zero in _compat.dim_constraints(dimension):
        if _compat.symbol_names(difference) <= sizes.keys():
            value = evaluate_dimension(difference, sizes)
            if value < 0 or (is_zero and value != 0):
                return f"{difference} {'==' if is_zero else '>='} 0"
    return None


def may_be_zero(dimension: Any) -> bool:
    """Whether a size may be 0 by what the user said.

    JAX takes a symbol for 1 at least; a constraint such as `"N >= 0"` says that 0 occurs.
    """
    if not _compat.is_symbolic(dimension):
        return int(dimension) == 0
    asked = {str(difference) for difference, is_zero in _compat.dim_constraints(dimension) if not is_zero}
    sizes = {name: 0 if name in asked else 1 for name in _compat.symbol_names(dimension)}
    return 0 in sizes.values() and evaluate_dimension(dimension, sizes) <= 0
