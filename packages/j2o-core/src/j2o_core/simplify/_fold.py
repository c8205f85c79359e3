"""Evaluate what depends on constants alone, with JAX's own numbers; drop what constants make an identity."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .. import _compat
from .._compat import Literal, is_jaxpr, literal_value, make_closed, new_var
from ..trace._memory import memory_place
from ._identities import known_result, passes_on
from ._nested import Steps, all_jaxprs, complete, is_same, may_hold_jaxprs, with_nested
from ._numpy_rules import numpy_values

# A folded tensor larger than this is left to the graph, which computes it from something smaller.
FOLD_LIMIT_BYTES = 1 << 20

_LAYOUT = frozenset({"reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "copy", "rev"})
# Cheap to compute and larger than what they are made from: kept as equations if something else reads them.
_EXPANDING = frozenset({"broadcast_in_dim", "iota", "iota_2x32_shape", "tile"})


class ConstantTable:
    """Names of constants by `id` or place in memory, and the arrays themselves, so that neither is reused.

    Attributes:
        kept: names and arrays of the weights that are the last inputs of the simplified jaxpr.
        fixed: names and arrays of those that are constants all the same.
        functions: the `FunctionCalls` of the export.
    """

    def __init__(self, names: dict[Any, str]):
        self._names = dict(names)
        self._alive: list[Any] = []
        self._simplified: dict[int, Any] = {}
        self._wide: dict[int, Any] = {}
        self.kept: list[tuple[str, Any]] = []
        self.fixed: list[tuple[str, Any]] = []
        self.functions: Any = None

    def name(self, value: Any) -> str | None:
        """The name of a constant, if it has one."""
        name = self._names.get(id(value))
        if name is None and isinstance(value, np.ndarray):
            name = self._names.get(memory_place(value))
        return name

    def set_name(self, value: Any, name: str | None) -> None:
        """Remember a name for an array."""
        if name is not None:
            self._names[id(value)] = name
            self._alive.append(value)

    def wide(self, value: Any) -> Any:
        """The array that a constant in half precision was rounded from, None if that is not known."""
        return self._wide.get(id(value))

    def set_wide(self, value: Any, wide: Any) -> None:
        """Remember what an array was rounded from."""
        self._wide[id(value)] = wide
        self._alive.append(value)

    def is_simplified(self, jaxpr: Any) -> bool:
        """Whether a closed jaxpr is a body inside of one that was simplified, and so simplified too."""
        return id(jaxpr) in self._simplified

    def set_simplified(self, jaxpr: Any) -> None:
        """Remember all bodies inside of a simplified closed jaxpr."""
        self._simplified.update((id(body), body) for body in all_jaxprs(jaxpr) if body is not jaxpr)


def fold_constants(jaxpr: Any, table: ConstantTable) -> Any:
    """The closed jaxpr with constant subexpressions evaluated."""
    return complete(_folded(jaxpr, table))


def _folded(jaxpr: Any, table: ConstantTable) -> Steps:
    known: dict[Any, Any] = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    expanded: set[Any] = set()
    same_as: dict[Any, Any] = {}
    eqns: list[Any] = []
    for eqn in jaxpr.jaxpr.eqns:
        eqn = with_operands(eqn, same_as)
        passed_on = passes_on(eqn, known)
        if passed_on is not None:  # a constant that only passes through stays the constant that it was
            same_as[eqn.outvars[0]] = passed_on
            continue
        empty = _has_no_elements(eqn)
        values = _zeros(eqn) if empty else _fold(eqn, known, table)
        if values is None and empty and eqn.primitive.name != "broadcast_in_dim":
            eqns += _without_elements(eqn, known)
            continue
        if values is None:
            holds = may_hold_jaxprs(eqn)
            eqns.append((yield from with_nested(eqn, lambda body: _folded(body, table))) if holds else eqn)
            continue
        known.update(zip(eqn.outvars, values, strict=True))
        if eqn.primitive.name in _EXPANDING and values[0].size > 16 and values[0].size > 4 * _largest_input(eqn):
            expanded.update(eqn.outvars)
            eqns.append(eqn)
    if not same_as and len(known) == len(jaxpr.consts) and is_same(jaxpr, eqns):
        return jaxpr
    outvars = [follow(atom, same_as) for atom in jaxpr.jaxpr.outvars]
    return _with_constants(jaxpr.jaxpr.invars, outvars, known, expanded, eqns)


def with_operands(eqn: Any, same_as: dict[Any, Any]) -> Any:
    """The equation with other operands in the place of some; itself if it has none of these."""
    invars = [follow(atom, same_as) for atom in eqn.invars] if same_as else eqn.invars
    return eqn if all(map(operator.is_, invars, eqn.invars)) else eqn.replace(invars=invars)


def follow(atom: Any, same_as: dict[Any, Any]) -> Any:
    """The atom in the place of another one."""
    return atom if isinstance(atom, Literal) else same_as.get(atom, atom)


def _largest_input(eqn: Any) -> int:
    return max((math.prod(atom.aval.shape) for atom in eqn.invars), default=1)


def _with_constants(
    invars: list[Any], outvars: list[Any], known: dict[Any, Any], expanded: set[Any], eqns: list[Any]
) -> Any:
    used: dict[Any, Any] = {}
    for atoms in (*(eqn.invars for eqn in eqns), outvars):
        for atom in atoms:
            if not isinstance(atom, Literal) and atom in known and atom not in expanded:
                used[atom] = known[atom]
    return make_closed(list(used), list(used.values()), invars, outvars, eqns)


def _fold(eqn: Any, known: dict[Any, Any], table: ConstantTable) -> list[Any] | None:
    """The values of an equation's results, or None if it has to stay."""
    values = []
    for atom in eqn.invars:
        if isinstance(atom, Literal):
            values.append(literal_value(atom))
        elif atom in known:
            values.append(known[atom])
        else:
            return _fold_unknown(eqn, known)
    if eqn.effects or eqn.primitive.name == "dim_as_value" or not all(map(_is_plain, eqn.outvars)):
        return None
    if any(is_jaxpr(value) for value in eqn.params.values()) and not hasattr(eqn.primitive, "composite"):
        return None
    if not _small_enough(eqn, values):
        return None
    results = _evaluate(eqn, values)
    if len(values) == 1 and eqn.primitive.name in _LAYOUT and results[0].size == values[0].size:
        table.set_name(results[0], table.name(values[0]))
        if (wide := table.wide(values[0])) is not None:
            table.set_wide(results[0], _evaluate(eqn, [wide])[0])
    return results


def _fold_unknown(eqn: Any, known: dict[Any, Any]) -> list[Any] | None:
    """The constant result of an equation whose operands are not all known."""
    number = known_result(eqn, known)
    if number is None or not _is_plain(eqn.outvars[0]) or not _small_enough(eqn, []):
        return None
    aval = eqn.outvars[0].aval
    return [np.full(aval.shape, number, aval.dtype)]


def _has_no_elements(eqn: Any) -> bool:
    """Whether all results of an equation have an axis of size 0: there is nothing to compute."""
    return bool(eqn.outvars) and not eqn.effects and all(map(_is_empty, eqn.outvars))


def _is_empty(var: Any) -> bool:
    sizes = [size for size in getattr(var.aval, "shape", ()) if type(size) is int]
    return 0 in sizes and not _compat.is_extended_dtype(var.aval.dtype)


def _zeros(eqn: Any) -> list[Any] | None:
    """The results of an equation without elements, or None if a size is symbolic."""
    if not all(map(_is_plain, eqn.outvars)):
        return None
    return [np.zeros(var.aval.shape, var.aval.dtype) for var in eqn.outvars]


def _without_elements(eqn: Any, known: dict[Any, Any]) -> Iterator[Any]:
    """For each result, a zero that is broadcast to its shape."""
    for var in eqn.outvars:
        zero = new_var(_compat.ShapedArray((), var.aval.dtype))
        known[zero] = np.zeros((), var.aval.dtype)
        params = {**_broadcast().params, "shape": var.aval.shape}
        yield _broadcast().replace(invars=[zero], outvars=[var], params=params, source_info=eqn.source_info)


@functools.cache
def _broadcast() -> Any:
    return jax.make_jaxpr(lambda x: jax.lax.broadcast_in_dim(x, (1,), ()))(np.float32(0)).jaxpr.eqns[0]


def _is_plain(var: Any) -> bool:
    aval = var.aval
    return bool(
        hasattr(aval, "shape")
        and not any(map(_compat.is_symbolic, aval.shape))
        and not _compat.is_extended_dtype(aval.dtype)
    )


def _small_enough(eqn: Any, values: list[Any]) -> bool:
    size = sum(math.prod(var.aval.shape) * var.aval.dtype.itemsize for var in eqn.outvars)
    if eqn.primitive.name in _LAYOUT and size <= sum(value.nbytes for value in values):
        return True  # a view of what is there anyway
    if eqn.primitive.name == "broadcast_in_dim":
        return True  # a view in NumPy, copied only at another use
    work = sum(value.nbytes for value in values)
    return bool(size <= FOLD_LIMIT_BYTES and work <= 16 * FOLD_LIMIT_BYTES)


def _evaluate(eqn: Any, values: list[Any]) -> list[Any]:
    if all(not isinstance(value, jax.Array) or value.is_fully_addressable for value in values):
        results = numpy_values(eqn, values)
        if results is not None:
            return results
    with jax.ensure_compile_time_eval():
        results = eqn.primitive.bind(*values, **eqn.params)
    results = results if eqn.primitive.multiple_results else [results]
    return [np.asarray(result) for result in results]
