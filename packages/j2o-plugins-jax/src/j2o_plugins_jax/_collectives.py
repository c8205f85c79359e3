"""Collectives over an axis that `vmap` names: there they are reductions of the batch, as in batch normalization."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from ._plugin import plugin


def _collective(
    *arrays: jax.Array, reduce: Callable[..., jax.Array], axes: Sequence[int | str], axis_index_groups: Any = None
) -> Any:
    if axis_index_groups is not None or not all(isinstance(axis, int) for axis in axes):
        return NotImplemented  # devices, which one graph does not have
    return [reduce(array, axes) for array in arrays]


for _primitive, _reduce in {
    "psum": lax.reduce_sum,
    "pmax": lax.reduce_max,
    "pmin": lax.reduce_min,
}.items():
    plugin.decomposition(_primitive)(functools.partial(_collective, reduce=_reduce))
