"""scatter by functions that ONNX has no reduction for: elements are taken out, combined and put back.

That is any function of one's own (`x.at[i].apply`), and products and extremes of complex numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._plugin import plugin


@plugin.decomposition(lax.scatter_p, ignores=("indices_are_sorted",))
def _scatter_apply(
    x: Any,
    indices: Any,
    updates: Any,
    *,
    update_jaxpr: Any,
    update_consts: Any,
    dimension_numbers: lax.ScatterDimensionNumbers,
    mode: lax.GatherScatterMode,
    unique_indices: bool,
) -> Any:
    if update_jaxpr is None:
        return NotImplemented
    jaxpr = getattr(update_jaxpr, "jaxpr", update_jaxpr)

    def function(old: Any, update: Any) -> Any:
        (new,) = jax.core.eval_jaxpr(jaxpr, update_consts, old, update)
        return new

    return _scattered(jnp.vectorize(function), x, indices, updates, dimension_numbers, mode, unique_indices)


def _scatter_complex(
    x: Any,
    indices: Any,
    updates: Any,
    *,
    function: Callable[..., Any],
    dimension_numbers: lax.ScatterDimensionNumbers,
    mode: lax.GatherScatterMode,
    unique_indices: bool,
) -> Any:
    if not jnp.iscomplexobj(x):
        return NotImplemented
    return _scattered(function, x, indices, updates, dimension_numbers, mode, unique_indices)


for _primitive, _function in {
    lax.scatter_mul_p: lax.mul,
    lax.scatter_min_p: lax.min,
    lax.scatter_max_p: lax.max,
}.items():
    plugin.decomposition(_primitive, ignores=("indices_are_sorted", "update_jaxpr", "update_consts"))(
        functools.partial(_scatter_complex, function=_function)
    )


def _scattered(
    function: Callable[..., Any],
    x: Any,
    indices: Any,
    updates: Any,
    dimension_numbers: lax.ScatterDimensionNumbers,
    mode: lax.GatherScatterMode,
    unique_indices: bool,
) -> Any:
    """All windows at once if no element is in two of them, else one after the other, as XLA does on a CPU."""
    x, indices, updates = map(jnp.asarray, (x, indices, updates))
    if unique_indices:
        return _updated(function, x, indices, updates, dimension_numbers, mode)
    vectors, windows, one = _in_a_row(indices, updates, dimension_numbers)

    def update(i: Any, x: Any) -> Any:
        return _updated(function, x, vectors[i], windows[i], one, mode)

    return update(0, x) if vectors.shape[0] == 1 else lax.fori_loop(0, vectors.shape[0], update, x)


def _updated(
    function: Callable[..., Any],
    x: Any,
    indices: Any,
    updates: Any,
    dnums: lax.ScatterDimensionNumbers,
    mode: lax.GatherScatterMode,
) -> Any:
    gather = lax.GatherDimensionNumbers(
        offset_dims=tuple(dnums.update_window_dims),
        collapsed_slice_dims=tuple(dnums.inserted_window_dims),
        start_index_map=tuple(dnums.scatter_dims_to_operand_dims),
        operand_batching_dims=tuple(dnums.operand_batching_dims),
        start_indices_batching_dims=tuple(dnums.scatter_indices_batching_dims),
    )
    narrow = {*dnums.inserted_window_dims, *dnums.operand_batching_dims}
    places = iter(dnums.update_window_dims)
    sizes = [1 if axis in narrow else updates.shape[next(places)] for axis in range(x.ndim)]
    # Where indices are outside, it does not matter what is taken out: nothing is put back.
    old = lax.gather(x, indices, gather, sizes, mode=lax.GatherScatterMode.CLIP)
    return lax.scatter(x, indices, function(old, updates), dnums, unique_indices=True, mode=mode)


def _in_a_row(
    indices: Any, updates: Any, dnums: lax.ScatterDimensionNumbers
) -> tuple[Any, Any, lax.ScatterDimensionNumbers]:
    """Index vectors as rows of a matrix, with the windows that belong to them, and where a single one goes."""
    batch = indices.shape[:-1]
    # Axes that operand and indices have in common are indexed as any other axis.
    lines = [lax.broadcasted_iota(indices.dtype, (*batch, 1), axis) for axis in dnums.scatter_indices_batching_dims]
    vectors = jnp.concatenate([indices, *lines], -1)
    behind = [axis for axis in range(updates.ndim) if axis not in dnums.update_window_dims]
    updates = jnp.transpose(updates, (*behind, *dnums.update_window_dims))
    window = updates.shape[len(behind) :]
    count = math.prod(batch)
    return (
        jnp.reshape(vectors, (count, vectors.shape[-1])),
        jnp.reshape(updates, (count, *window)),
        lax.ScatterDimensionNumbers(
            update_window_dims=tuple(range(len(window))),
            inserted_window_dims=tuple(sorted((*dnums.inserted_window_dims, *dnums.operand_batching_dims))),
            scatter_dims_to_operand_dims=(*dnums.scatter_dims_to_operand_dims, *dnums.operand_batching_dims),
        ),
    )
