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
        dense_lhs = _dense(lhs, ragged, group_sizes, (*lhs_batch, *lhs_contract[:outer]), 0)
        dense_rhs = _dense(rhs, rhs_contract[outer], group_sizes, (*rhs_batch, *rhs_contract[:outer]), 0)
        batched = (0, *_beside(lhs_batch, 0)), (0, *_beside(rhs_batch, 0))
        return product(dense_lhs, dense_rhs, ((_beside(lhs_contract, 0), _beside(rhs_contract, 0)), batched))
    (group,) = numbers.rhs_group_dimensions
    free = [axis for axis in range(ragged) if axis not in (*lhs_contract, *lhs_batch)]
    # The groups stand in front of the contracted axes: the product takes both as one, without a Transpose.
    place = min(lhs_contract, default=0)
    dense_lhs = _dense(lhs, ragged, group_sizes, (*lhs_batch, *free), place)
    contracted = (place, *_beside(lhs_contract, place)), (group, *rhs_contract)
    return product(dense_lhs, rhs, (contracted, (_beside(lhs_batch, place), rhs_batch)))


def _beside(axes: Sequence[int], place: int) -> tuple[int, ...]:
    """Axes beside a new one for the groups."""
    return tuple(axis + (axis >= place) for axis in axes)


def _dense(x: Any, axis: int, group_sizes: Any, outer: Sequence[int], place: int) -> Any:
    """For each group, along a new axis, the array with zeros where `axis` is not in the group.

    Args:
        x: the array.
        axis: its axis whose items are in groups.
        group_sizes: how many items each group has, along the last axis.
        outer: the axes of `x` in front of that one.
        place: of the new axis.
    """
    (ragged,) = _beside((axis,), place)
    ends = jnp.cumsum(group_sizes, -1, dtype=group_sizes.dtype)

    def spread(bounds: Any) -> Any:
        axes = (*(_beside(outer, place) if bounds.ndim > 1 else ()), place)
        shape = [1] * (x.ndim + 1)
        for new, size in zip(axes, bounds.shape, strict=True):
            shape[new] = size
        order = sorted(range(len(axes)), key=axes.__getitem__)
        return jnp.transpose(bounds, order).reshape(shape)

    along = [1] * (x.ndim + 1)
    along[ragged] = x.shape[axis]
    position = lax.broadcasted_iota(group_sizes.dtype, along, ragged)
    inside = (spread(ends - group_sizes) <= position) & (position < spread(ends))
    return jnp.where(inside, jnp.expand_dims(x, place), jnp.zeros((), x.dtype))
