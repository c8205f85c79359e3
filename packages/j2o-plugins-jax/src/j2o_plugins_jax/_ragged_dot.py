"""ragged_dot_general: rows in groups of run-time sizes, each with a matrix of its own, as one masked product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ._plugin import plugin


@plugin.decomposition("ragged_dot_general", ignores=("out_sharding",))
def _ragged_dot_general(
    lhs: Any,
    rhs: Any,
    group_sizes: Any,
    *,
    ragged_dot_dimension_numbers: lax.RaggedDotDimensionNumbers,
    precision: Any = None,
    preferred_element_type: Any = None,
    group_offset: Any = None,
) -> Any:
    """With one more axis for the groups, which is multiplied out, or stays if the ragged axis itself is contracted."""
    assert group_offset is None, "JAX itself cannot trace it: an array is no parameter"
    numbers = ragged_dot_dimension_numbers
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = numbers.dot_dimension_numbers
    (ragged,) = numbers.lhs_ragged_dimensions

    def product(lhs: Any, rhs: Any, dimensions: Any) -> Any:
        return lax.dot_general(lhs, rhs, dimensions, precision=precision, preferred_element_type=preferred_element_type)

    if ragged in lhs_batch:
        return product(lhs, rhs, numbers.dot_dimension_numbers)
    if ragged in lhs_contract:
        outer = lhs_contract.index(ragged)
        dense_lhs = _dense(lhs, ragged, group_sizes, (*lhs_batch, *lhs_contract[:outer]))
        dense_rhs = _dense(rhs, rhs_contract[outer], group_sizes, (*rhs_batch, *rhs_contract[:outer]))
        batched = (0, *_behind(lhs_batch)), (0, *_behind(rhs_batch))
        return product(dense_lhs, dense_rhs, ((_behind(lhs_contract), _behind(rhs_contract)), batched))
    (group,) = numbers.rhs_group_dimensions
    free = [axis for axis in range(ragged) if axis not in (*lhs_contract, *lhs_batch)]
    dense_lhs = _dense(lhs, ragged, group_sizes, (*lhs_batch, *free))
    contracted = (*_behind(lhs_contract), 0), (*rhs_contract, group)
    return product(dense_lhs, rhs, (contracted, (_behind(lhs_batch), rhs_batch)))


def _behind(axes: Sequence[int]) -> tuple[int, ...]:
    """Axes behind the new one for the groups."""
    return tuple(axis + 1 for axis in axes)


def _dense(x: Any, axis: int, group_sizes: Any, outer: Sequence[int]) -> Any:
    """For each group the array with zeros where `axis` is not in the group; `outer` are the axes of `group_sizes`."""
    shape = (group_sizes.shape[-1], *x.shape)
    ends = jnp.cumsum(group_sizes, -1, dtype=group_sizes.dtype)

    def spread(bounds: Any) -> Any:
        if bounds.ndim == 1:
            return lax.broadcast_in_dim(bounds, shape, (0,))
        axes = (*_behind(outer), 0)
        order = sorted(range(len(axes)), key=axes.__getitem__)
        return lax.broadcast_in_dim(jnp.transpose(bounds, order), shape, sorted(axes))

    position = lax.broadcasted_iota(group_sizes.dtype, shape, axis + 1)
    inside = (spread(ends - group_sizes) <= position) & (position < spread(ends))
    return jnp.where(inside, x[None], jnp.zeros((), x.dtype))
