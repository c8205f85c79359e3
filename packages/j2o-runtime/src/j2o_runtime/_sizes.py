"""Symbolic sizes: expressions of names as numbers, and the names' sizes by the shapes of arrays."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence

Size = int | str
Known = Mapping[str, int]

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "max": max,
    "min": min,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}
# A line goes through these if it goes through the first two; no `mod` or `floordiv` by a size that occurs does.
_PROBES = (0, 1, 2, 3, 1_000_003)


@functools.lru_cache(4096)
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@functools.lru_cache(4096)
def names_in(text: str) -> frozenset[str]:
    """Names of the symbols in an expression or constraint."""
    found = (node.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name))
    return frozenset(found) - _FUNCTIONS.keys()


def evaluate(size: Size, known: Known) -> int:
    """A size as a number, given those of its names."""
    return size if isinstance(size, int) else _value(_parsed(size), known)


def _value(node: ast.expr, known: Known) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, known), _value(node.right, known))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        left, right = (_value(operand, known) for operand in node.args)
        return _FUNCTIONS[node.func.id](left, right)
    raise ValueError(f"{ast.unparse(node)!r} is no expression of sizes")


def holds(constraint: str, known: Known) -> bool:
    """Whether sizes satisfy a constraint such as `T >= 4`; one on names that are not known does."""
    comparison = _parsed(constraint)
    if not isinstance(comparison, ast.Compare) or len(comparison.ops) != 1:
        raise ValueError(f"{constraint!r} is no constraint")
    if not names_in(constraint) <= known.keys():
        return True
    compare = _COMPARISONS[type(comparison.ops[0])]
    return compare(_value(comparison.left, known), _value(comparison.comparators[0], known))


@functools.lru_cache(4096)
def line(size: Size) -> tuple[str, int, int] | None:
    """(name, coefficient, offset) of a size `coefficient * name + offset`, None for all others."""
    if isinstance(size, int) or len(names := names_in(size)) != 1:
        return None
    (name,) = names
    values = [evaluate(size, {name: probe}) for probe in _PROBES]
    offset, coefficient = values[0], values[1] - values[0]
    straight = all(value == offset + coefficient * probe for value, probe in zip(values, _PROBES, strict=True))
    return (name, coefficient, offset) if coefficient and straight else None


def known_sizes(shapes: Iterable[tuple[Sequence[Size], Sequence[int]]]) -> dict[str, int]:
    """Sizes of the names that pairs of (declared shape, actual shape) of equal rank tell; the first one counts."""
    known: dict[str, int] = {}
    for declared, actual in shapes:
        for size, number in zip(declared, actual, strict=True):
            found = line(size)
            if found is not None:
                name, coefficient, offset = found
                count, rest = divmod(number - offset, coefficient)
                if not rest and count >= 0:
                    known.setdefault(name, count)
    return known
