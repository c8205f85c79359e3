"""Constraints on symbolic sizes, such as `"T >= 4"`: the user's, and those of sizes that the user made."""

import re
import tokenize
from collections.abc import Sequence
from typing import Any

import jax
from jax import export

from .. import _compat
from .._errors import SpecError


def as_texts(constraints: Sequence[str]) -> Sequence[str]:
    """The constraints as a sequence of texts; raises a SpecError where they are none."""
    if not isinstance(constraints, Sequence):
        raise SpecError(f"constraints is {constraints!r}. Expected a sequence of texts, such as ['T >= 4'].")
    return (constraints,) if isinstance(constraints, str) else constraints


def own_constraints(inputs: Any) -> list[str]:
    """The constraints of sizes that the user made in a scope of `jax.export` of their own."""
    found: dict[str, None] = {}
    for leaf in jax.tree.leaves(inputs):
        shape = getattr(leaf, "shape", None)
        for dimension in (*shape, leaf) if isinstance(shape, tuple) else (leaf,):
            if export.is_symbolic_dim(dimension):
                found.update(dict.fromkeys(_compat.constraint_texts(dimension)))
    return list(found)


def constraint_scope(constraints: Sequence[str]) -> export.SymbolicScope:
    """The scope of symbolic sizes under these constraints.

    Raises:
        SpecError: if one cannot be read.
    """
    try:
        return export.SymbolicScope(tuple(constraints))
    except (ValueError, RecursionError, tokenize.TokenError) as error:
        one = next((text for text in constraints if not _is_constraint(text)), None)
        said = str(error).partition("\n")[0] if one is None else "it is no comparison"
        raise SpecError(
            f"The constraint {one if one is not None else list(constraints)!r} cannot be read: {said}. "
            f'Expected ">=", "<=" or "==" between sizes, such as "T >= 4" (for "T > 3") or "M == 2*N".'
        ) from error


def _is_constraint(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    sides = re.split(">=|<=|==", text)
    return len(sides) == 2 and all(side.strip() for side in sides)


def check_constraints(constraints: Sequence[str], symbols: Sequence[str]) -> None:
    """Raise a SpecError if a constraint is on a name that no size has, or excludes another."""
    limits: dict[tuple[str, str], tuple[int, str]] = {}
    for constraint in constraints:
        simple = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(\d+)\s*", constraint)
        if simple is None:
            continue
        name, sign, number = simple[1], simple[2], int(simple[3])
        other = limits.get((name, "<=" if sign == ">=" else ">="))
        if other is not None and (number > other[0] if sign == ">=" else number < other[0]):
            raise SpecError(f"The constraints {other[1]!r} and {constraint!r} leave no size for {name}. Correct one.")
        limits[name, sign] = number, constraint
    for constraint in constraints:
        if "==" in constraint:  # JAX has put one of the two in the place of the other
            continue
        for name in re.findall(r"[A-Za-z_]\w*(?!\w|\s*\()", constraint):
            if name not in symbols:
                known = f"Those are {', '.join(symbols)}" if symbols else "There are none"
                raise SpecError(
                    f"The constraint {constraint!r} is on {name}, which is no size of the inputs. {known}: write the "
                    f"name as it is in the specs, or leave the constraint out."
                )
