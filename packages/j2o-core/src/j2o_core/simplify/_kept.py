"""Weights that are kept: their values are as unknown to all later stages as those of inputs."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .._compat import make_closed
from ._fold import ConstantTable
from ._nested import nested


def open_weights(jaxpr: Any, constants: ConstantTable) -> tuple[Any, list[tuple[str, Any]]]:
    """A closed jaxpr with the floats among its named constants as further inputs, and their names and arrays.

    before: lambda w:f32[3,3] m:i32[3] ; x. ...        constants w, m
    after:  lambda m:i32[3] ; x w. ...                 constant m

    Integers, booleans and keys stay constants: shapes and indices may follow from them.
    """
    constvars, consts, opened, kept = [], [], [], []
    for var, value in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True):
        name = constants.name(value)
        if name is not None and jax.numpy.issubdtype(var.aval.dtype, np.floating):
            opened.append(var)
            kept.append((name, value))
        else:
            constvars.append(var)
            consts.append(value)
    invars = [*jaxpr.jaxpr.invars, *opened]
    return make_closed(constvars, consts, invars, jaxpr.jaxpr.outvars, jaxpr.jaxpr.eqns), kept


def fixed_weights(jaxpr: Any, constants: ConstantTable) -> list[tuple[str, Any]]:
    """Names and arrays of the constants that a jaxpr and those inside of it still have under a name."""
    found = [(name, value) for value in jaxpr.consts if (name := constants.name(value)) is not None]
    for eqn in jaxpr.jaxpr.eqns:
        for body in nested(eqn):
            found += fixed_weights(body, constants)
    return found


def close_weights(jaxpr: Any, kept: list[tuple[str, Any]]) -> Any:
    """The reverse: the last inputs are constants again."""
    count = len(jaxpr.jaxpr.invars) - len(kept)
    invars, opened = jaxpr.jaxpr.invars[:count], jaxpr.jaxpr.invars[count:]
    consts = [*jaxpr.consts, *(value for _, value in kept)]
    return make_closed([*jaxpr.jaxpr.constvars, *opened], consts, invars, jaxpr.jaxpr.outvars, jaxpr.jaxpr.eqns)
