"""Differences in units in the last place, beyond what rounding the inputs would make.

A value `f(x)` is as well known as `x` is: where JAX's own result changes by `k` units when the inputs change by one,
as that of a difference of near numbers does, two right programs may differ by `k` units for each rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import ml_dtypes
import numpy as np

from ..trace._inputs import Inputs

Array = np.ndarray[Any, Any]


def conditions(
    reference: Callable[..., list[Any]], leaves: Sequence[Any], expected: Sequence[Any]
) -> list[Array | None]:
    """For each output, the size of one unit in the last place; None where it has to be equal.

    Args:
        reference: JAX's outputs for the graph's inputs.
        leaves: the inputs.
        expected: what `reference` gives for them.

    Returns:
        float64 arrays of the outputs' shapes; infinite where nothing is known.
    """
    expected = [np.asarray(value) for value in expected]
    units = [_unit(value) if _is_float(value) else None for value in expected]
    for turn in range(4):
        moved = [_moved(np.asarray(leaf), turn) for leaf in leaves]
        for place, (want, near) in enumerate(zip(expected, reference(*moved), strict=True)):
            unit = units[place]
            if unit is not None:
                with np.errstate(all="ignore"):
                    change = np.abs(np.asarray(near).astype(np.float64) - want.astype(np.float64))
                units[place] = np.maximum(unit, np.where(np.isnan(change), np.inf, change))
    return units


def in_float64(fn: Callable[..., Any], inputs: Inputs, leaves: Sequence[Any]) -> list[Any] | None:
    """The function on inputs of 64 bits, None where it mixes them with types of its own."""
    wide = [np.asarray(leaf, np.float64) if _is_float(np.asarray(leaf)) else leaf for leaf in leaves]
    with jax.enable_x64(True):
        try:
            return [np.asarray(value) for value in jax.tree.leaves(jax.jit(partial(inputs.call, fn))(wide))]
        except (TypeError, ValueError):
            return None


def beyond(name: str, want: Any, got: Any, unit: Array | None, ulps: float, exact: Any = None) -> str:
    """The complaint about an output that is finite where JAX's is, "" if it is right.

    With `exact`, JAX's result in float64, it may be as far from JAX's as that is: a fusion may be more precise.
    """
    if unit is None:
        return ""
    wide, other = np.asarray(want).astype(np.float64), np.asarray(got).astype(np.float64)
    # XLA flushes subnormal numbers to zero on a CPU.
    tiny = float(ml_dtypes.finfo(np.asarray(want).dtype).tiny)
    with np.errstate(all="ignore"):
        difference = np.abs(wide - other)
        if exact is not None and np.shape(exact) == wide.shape:
            unit = np.maximum(unit, np.nan_to_num(np.abs(wide - np.asarray(exact, np.float64)), nan=0.0))
        units = difference / unit
    wrong = np.isfinite(wide) & (units > ulps) & (difference > tiny)
    if not wrong.any():
        return ""
    worst = np.unravel_index(np.argmax(np.where(wrong, units, 0)), wide.shape)
    return (
        f"Output {name!r} differs from JAX by up to {units[worst]:.3g} units in the last place: {other[worst]!r} for "
        f"{wide[worst]!r}. A graph without sums and products is expected within {ulps:g}; a right one that cannot be "
        "gets ulps=... with the reason"
    )


def _is_float(array: Array) -> bool:
    return bool(array.dtype.kind == "f") or array.dtype.name.startswith(("bfloat", "float8"))


def _unit(array: Array) -> Array:
    """The distance to the next number, of normal numbers."""
    info = ml_dtypes.finfo(array.dtype)
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.maximum(np.abs(array.astype(np.float64)), float(info.tiny))))
        unit: Array = np.where(np.isfinite(exponent), np.exp2(exponent) * float(info.eps), np.inf)
    return unit


def _moved(array: Array, turn: int) -> Array:
    """The array with every number one unit larger, smaller, or either, alternating."""
    if not _is_float(array):
        return array
    sign = np.ones(array.shape)
    if turn > 1:
        sign.reshape(-1)[::2] = -1
    sign = sign if turn % 2 else -sign
    with np.errstate(all="ignore"):
        near = array.astype(np.float64) + sign * _unit(array)
        return np.where(np.isfinite(near) & (array != 0), near, array.astype(np.float64)).astype(array.dtype)
