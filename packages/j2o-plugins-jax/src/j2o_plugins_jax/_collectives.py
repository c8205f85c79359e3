"""Collectives. Over an axis that `vmap` names they are reductions of the batch, as in batch normalization.

Over the named axes of a mesh they change no value: a graph runs on one device, and `shard_map` over more is refused.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._plugin import plugin

# Which devices take part, where there is one.
_DEVICES = ("axis_index_groups", "axis_name", "axis_size")


def _collective(
    *arrays: jax.Array,
    reduce: Callable[..., jax.Array],
    axes: Sequence[int | str],
    axis_index_groups: Any = None,
) -> Any:
    if axis_index_groups is not None and any(isinstance(axis, int) for axis in axes):
        return NotImplemented
    batch = [axis for axis in axes if isinstance(axis, int)]
    return [reduce(array, batch) if batch else array for array in arrays]


for _primitive, _reduce in {
    "psum": lax.reduce_sum,
    "psum_invariant": lax.reduce_sum,
    "pmax": lax.reduce_max,
    "pmin": lax.reduce_min,
}.items():
    plugin.decomposition(_primitive)(functools.partial(_collective, reduce=_reduce))


def _all_gather(x: jax.Array, *, all_gather_dimension: int, tiled: bool) -> jax.Array:
    return x if tiled else jnp.expand_dims(x, all_gather_dimension)


for _primitive in ("all_gather", "all_gather_invariant", "all_gather_reduced"):
    plugin.decomposition(_primitive, ignores=_DEVICES)(_all_gather)


def _reduce_scatter(x: jax.Array, *, scatter_dimension: int, tiled: bool) -> jax.Array:
    return x if tiled else jnp.squeeze(x, scatter_dimension)


for _primitive in ("reduce_scatter", "unreduced_reduce_scatter"):
    plugin.decomposition(_primitive, ignores=_DEVICES)(_reduce_scatter)


@plugin.decomposition("all_to_all", ignores=(*_DEVICES, "concat_axis", "split_axis", "tiled"))
def _all_to_all(x: jax.Array) -> jax.Array:
    return x


@plugin.decomposition("ppermute", ignores=_DEVICES)
def _ppermute(x: jax.Array, *, perm: Sequence[tuple[int, int]]) -> jax.Array:
    """The only device gets what it sends to itself, or zeros."""
    return x if perm else jnp.zeros_like(x)


@plugin.decomposition("axis_index", ignores=_DEVICES)
def _axis_index() -> jax.Array:
    return jnp.zeros((), jnp.int32)
