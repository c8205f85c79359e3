"""Reductions, scans and sorting of complex numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun

from j2o_core._compat import as_closed

from .._windows import window_params
from ._arithmetic import Pair, is_complex, larger_of, pair, parts, smaller_of, times


def _fold(combine: Callable[[Pair, Pair], Pair], first: float) -> Callable[..., Any]:
    """A reduction over axes: by halves, or from `first` on where their sizes are symbolic."""

    def rule(eqn: Any, x: Any) -> Any:
        axes = eqn.params["axes"]
        real, imag = parts(x)
        if not all(isinstance(real.shape[axis], int) for axis in axes):
            return pair(*lax.reduce((real, imag), _scalar(first, x), combine, axes))
        rest = [axis for axis in range(real.ndim) if axis not in axes]
        count = math.prod(real.shape[axis] for axis in axes)
        shape = (*(real.shape[axis] for axis in rest), count)
        z: Any = tuple(lax.reshape(lax.transpose(part, (*rest, *axes)), shape) for part in (real, imag))
        while count > 1:
            half = count // 2
            cuts = slice(half), slice(half, 2 * half), slice(2 * half, None)
            left, right, tail = (tuple(part[..., cut] for part in z) for cut in cuts)
            both = combine(left, right)
            z = tuple(jnp.concatenate(joined, -1) for joined in zip(both, tail, strict=True)) if count % 2 else both
            count -= half
        return pair(*(part[..., 0] for part in z))

    return rule


def _scalar(real: float, like: Any) -> Pair:
    return np.array(real, like.dtype), np.array(0, like.dtype)


def _reduce_prod(eqn: Any, x: Any) -> Any:
    if any(x.shape[axis] == 0 for axis in eqn.params["axes"]):
        shape = eqn.outvars[0].aval.shape
        return pair(jnp.ones(shape, x.dtype), jnp.zeros(shape, x.dtype))
    return _fold(times, 1)(eqn, x)


def _cumulative(combine: Callable[[Pair, Pair], Pair], first: float) -> Callable[..., Any]:
    """A running reduction; `first` is the real part of its identity element."""

    def rule(eqn: Any, x: Any) -> Any:
        axis, reverse = eqn.params["axis"], eqn.params["reverse"]
        if isinstance(x.shape[axis], int):
            return pair(*lax.associative_scan(combine, parts(x), axis=axis, reverse=reverse))

        def step(carry: Any, now: Any) -> tuple[Any, Any]:
            carry = combine(carry, now)
            return carry, carry

        rows = tuple(jnp.moveaxis(part, axis, 0) for part in parts(x))
        neutral = jnp.full(rows[0].shape[1:], first, x.dtype), jnp.zeros(rows[0].shape[1:], x.dtype)
        _, results = lax.scan(step, neutral, rows, reverse=reverse)
        return pair(*(jnp.moveaxis(part, 0, axis) for part in results))

    return rule


def _logaddexp(x: Pair, y: Pair) -> Pair:
    z = jnp.logaddexp(lax.complex(*x), lax.complex(*y))
    return lax.real(z), lax.imag(z)


def _sort(eqn: Any, *arrays: Any) -> Any:
    """Complex keys are sorted by their real part, then by the imaginary one."""
    params = dict(eqn.params)
    flat: list[Any] = []
    keys = 0
    for index, (atom, x) in enumerate(zip(eqn.invars, arrays, strict=True)):
        columns = parts(x) if is_complex(atom) else (x,)
        flat += columns
        keys += len(columns) if index < params["num_keys"] else 0
    params["num_keys"] = keys
    results = iter(eqn.primitive.bind(*flat, **params))
    return [pair(next(results), next(results)) if is_complex(atom) else next(results) for atom in eqn.invars]


def _reducing(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction by any operation: the parts are operands of their own, which the operation puts together."""

    def rule(eqn: Any, *arrays: Any) -> Any:
        count = len(arrays) // 2
        kinds = [is_complex(atom) for atom in eqn.invars[:count]]
        operation = jaxpr_as_fun(as_closed(eqn.params["jaxpr"]))

        def split(values: Any) -> list[Any]:
            return [
                part for value, kind in zip(values, kinds, strict=True) for part in (parts(value) if kind else (value,))
            ]

        def joined(values: Any, join: Callable[[Any, Any], Any]) -> list[Any]:
            rest = iter(values)
            return [join(next(rest), next(rest)) if kind else next(rest) for kind in kinds]

        def combine(left: Any, right: Any) -> Any:
            results = operation(*joined(left, lax.complex), *joined(right, lax.complex))
            return tuple(
                part
                for value, kind in zip(results, kinds, strict=True)
                for part in ((lax.real(value), lax.imag(value)) if kind else (value,))
            )

        results = reduce(eqn.params, tuple(split(arrays[:count])), tuple(split(arrays[count:])), combine)
        return joined(results, pair)

    return rule


def _extreme_window(combine: Callable[[Pair, Pair], Pair], first: float) -> Callable[..., Any]:
    def rule(eqn: Any, x: Any) -> Any:
        return pair(*lax.reduce_window(parts(x), _scalar(first, x), combine, **window_params(eqn.params)))

    return rule


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_prod": _reduce_prod,
    "reduce_max": _fold(larger_of, -np.inf),
    "reduce_min": _fold(smaller_of, np.inf),
    "cumprod": _cumulative(times, 1),
    "cummax": _cumulative(larger_of, -np.inf),
    "cummin": _cumulative(smaller_of, np.inf),
    "cumlogsumexp": _cumulative(_logaddexp, -np.inf),
    "reduce": _reducing(lambda params, xs, inits, fn: lax.reduce(xs, inits, fn, params["dimensions"])),
    "reduce_window": _reducing(lambda params, xs, inits, fn: lax.reduce_window(xs, inits, fn, **window_params(params))),
    "reduce_window_max": _extreme_window(larger_of, -np.inf),
    "reduce_window_min": _extreme_window(smaller_of, np.inf),
    "sort": _sort,
}
