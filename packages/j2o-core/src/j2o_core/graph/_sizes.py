"""Sizes: dimensions as numbers and text, and what the shapes of arrays say about symbolic ones."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from jax.extend.core import InconclusiveDimensionOperation

from .. import _compat

T = TypeVar("T")


class Algebra(Protocol[T]):
    """Arithmetic of sizes: of numbers, nodes of a graph, or text."""

    def number(self, value: int) -> T:
        """A number."""

    def symbol(self, name: str) -> T:
        """A symbolic dimension."""

    def operation(self, name: str, operands: tuple[Any, Any], left: T, right: T) -> T:
        """`floordiv`, `mod`, `max` or `min` of two dimensions, which are also given as they are."""

    def product(self, coefficient: int, factors: list[T]) -> T:
        """A coefficient, not 0, times at least one factor."""

    def total(self, terms: list[T]) -> T:
        """The sum of at least one term."""


def fold_dimension(dimension: Any, algebra: Algebra[T]) -> T:
    """A dimension, symbolic or not, in an algebra."""
    if not _compat.is_symbolic(dimension):
        return algebra.number(int(dimension))
    terms = []
    for coefficient, powers in _compat.dim_terms(dimension):
        factors: list[T] = []
        for factor, exponent in powers:
            if isinstance(factor, str):
                value = algebra.symbol(factor)
            else:
                name, operands = factor
                value = algebra.operation(name, operands, *(fold_dimension(operand, algebra) for operand in operands))
            factors += [value] * exponent
        terms.append(algebra.product(coefficient, factors) if factors else algebra.number(coefficient))
    return algebra.total(terms)


class _Numbers:
    """Sizes as numbers, given those of the symbols."""

    _OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
        "floordiv": operator.floordiv,
        "mod": operator.mod,
        "max": max,
        "min": min,
    }

    def __init__(self, sizes: Mapping[str, int]):
        self._sizes = sizes

    def number(self, value: int) -> int:
        return value

    def symbol(self, name: str) -> int:
        return self._sizes[name]

    def operation(self, name: str, operands: tuple[Any, Any], left: int, right: int) -> int:
        del operands
        return self._OPERATIONS[name](left, right)

    def product(self, coefficient: int, factors: list[int]) -> int:
        return coefficient * math.prod(factors)

    def total(self, terms: list[int]) -> int:
        return sum(terms)


class _Text:
    """Sizes as ONNX text: `floordiv(a, b)` becomes `a // b`."""

    def number(self, value: int) -> str:
        return str(value)

    def symbol(self, name: str) -> str:
        return name

    def operation(self, name: str, operands: tuple[Any, Any], left: str, right: str) -> str:
        del operands
        infix = {"floordiv": "//", "mod": "%"}.get(name)
        return f"{name}({left}, {right})" if infix is None else f"(({left}) {infix} ({right}))"

    def product(self, coefficient: int, factors: list[str]) -> str:
        product = "*".join(factors)
        if abs(coefficient) != 1:
            return f"{coefficient}*{product}"
        return product if coefficient == 1 else f"-{product}"

    def total(self, terms: list[str]) -> str:
        return " + ".join(terms).replace("+ -", "- ")


_TEXT = _Text()


def evaluate_dimension(dimension: Any, sizes: Mapping[str, int]) -> int:
    """A dimension as a number, given the sizes of its symbols."""
    return fold_dimension(dimension, _Numbers(sizes))


def dimension_text(dimension: Any) -> str:
    """A symbolic dimension as ONNX text; text stays as it is."""
    return dimension if isinstance(dimension, str) else fold_dimension(dimension, _TEXT)


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
    for difference, is_zero, text in _compat.dim_constraints(dimension):
        if _compat.symbol_names(difference) <= sizes.keys():
            value = evaluate_dimension(difference, sizes)
            if value < 0 or (is_zero and value != 0):
                return text
    return None


def is_asked_to_be_zero(dimension: Any) -> bool:
    """Whether a size is 0, or may be by a constraint such as `"N >= 0"`, where all other symbols are 1."""
    if not _compat.is_symbolic(dimension):
        return int(dimension) == 0
    asked = {str(difference) for difference, is_zero, _ in _compat.dim_constraints(dimension) if not is_zero}
    sizes = {name: 0 if name in asked else 1 for name in _compat.symbol_names(dimension)}
    return 0 in sizes.values() and evaluate_dimension(dimension, sizes) <= 0


def may_be_zero(dimension: Any) -> bool:
    """Whether a size may be 0 by what JAX and the user say.

    JAX takes a symbol for 1 at least, so that `N - 1` and `N // 2` may be 0; a constraint such as `"N >= 0"` says that
    `N` may be, too, `"N >= 2"` that neither is.
    """
    if is_asked_to_be_zero(dimension):
        return True
    if not _compat.is_symbolic(dimension):
        return False
    try:
        return not dimension >= 1
    except InconclusiveDimensionOperation:
        return True
