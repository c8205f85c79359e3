"""Weights that are kept: their values are as unknown to all later stages as those of inputs."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from .._compat import Literal, make_closed, with_constants
from ..trace._lazy import has_values, is_lazy
from ._fold import ConstantTable, follow, with_operands
from ._function_primitive import function_p
from ._nested import nested

# A larger array behind `stop_gradient` is no table of a few numbers but a weight that is not trained.
_BUFFER_BYTES = 1 << 16


def open_weights(
    jaxpr: Any, constants: ConstantTable, stopped: set[Any] | frozenset[Any] = frozenset(), *, only_lazy: bool = False
) -> tuple[Any, list[tuple[str, Any]]]:
    """A closed jaxpr with the floats among its named constants as further inputs, and their names and arrays.

    before: lambda w:f32[3,3] m:i32[3] ; x. ...        constants w, m
    after:  lambda m:i32[3] ; x w. ...                 constant m

    Integers, booleans and keys stay constants: shapes and indices may follow from them. So do buffers: small arrays
    that are read behind `stop_gradient` alone, as periods of a rotary embedding are. Weights without values are inputs
    all, for nothing can follow from them.

    Args:
        jaxpr: a closed jaxpr.
        constants: names of constants.
        stopped: variables of constants behind `stop_gradient`.
        only_lazy: whether arrays that are in memory stay constants.
    """
    jaxpr = _without_stops(jaxpr, stopped)
    constvars, consts, opened, kept = [], [], [], []
    for var, value in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True):
        name = constants.name(value)
        if name is not None and not (only_lazy and not is_lazy(value)) and _is_open(var, value, stopped):
            opened.append(var)
            kept.append((name, value))
        else:
            constvars.append(var)
            consts.append(_read(name, value, var.aval.dtype, constants))
    invars = [*jaxpr.jaxpr.invars, *opened]
    return make_closed(constvars, consts, invars, jaxpr.jaxpr.outvars, jaxpr.jaxpr.eqns), kept


def _is_open(var: Any, value: Any, stopped: set[Any] | frozenset[Any]) -> bool:
    if is_lazy(value) and not has_values(value):
        return True
    return var not in stopped and bool(jax.numpy.issubdtype(var.aval.dtype, np.floating))


def _read(name: str | None, value: Any, dtype: Any, constants: ConstantTable) -> Any:
    """A constant as an array, under the same name."""
    if not is_lazy(value):
        return value
    array = np.asarray(value).astype(dtype, copy=False)
    constants.set_name(array, name)
    return array


def _without_stops(jaxpr: Any, stopped: set[Any] | frozenset[Any]) -> Any:
    """A closed jaxpr in which an array is one constant: a buffer if all that read it have it behind `stop_gradient`."""
    if not stopped:
        return jaxpr
    read = {atom for eqn in jaxpr.jaxpr.eqns for atom in eqn.invars if not isinstance(atom, Literal)}
    read |= {atom for atom in jaxpr.jaxpr.outvars if not isinstance(atom, Literal)}
    arrays = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    plain = {id(value): var for var, value in arrays.items() if var not in stopped}
    merged: dict[Any, Any] = {}
    for var in stopped & arrays.keys():
        other = plain[id(arrays[var])]
        if other in read or not _is_buffer(arrays[var]):
            merged[var] = other
        else:
            del arrays[other]
    eqns = [with_operands(eqn, merged) for eqn in jaxpr.jaxpr.eqns]
    outvars = [follow(atom, merged) for atom in jaxpr.jaxpr.outvars]
    left = {var: value for var, value in arrays.items() if var not in merged}
    return make_closed(list(left), list(left.values()), jaxpr.jaxpr.invars, outvars, eqns)


def _is_buffer(value: Any) -> bool:
    small = math.prod(value.shape) * np.dtype(value.dtype).itemsize <= _BUFFER_BYTES
    return small and (has_values(value) or not is_lazy(value))


def fixed_weights(jaxpr: Any, constants: ConstantTable) -> list[tuple[str, Any]]:
    """Names and arrays of the constants that a jaxpr and those inside of it still have under a name."""
    found = [(name, value) for value in jaxpr.consts if (name := constants.name(value)) is not None]
    for eqn in jaxpr.jaxpr.eqns:
        for body in [eqn.params["body"]] if eqn.primitive is function_p else nested(eqn):
            found += fixed_weights(body, constants)
    return found


def close_weights(jaxpr: Any, kept: list[tuple[str, Any]]) -> Any:
    """The reverse: the last inputs are constants again."""
    return with_constants(jaxpr, [value for _, value in kept])
