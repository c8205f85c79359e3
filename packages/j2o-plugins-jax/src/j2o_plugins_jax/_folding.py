"""An axis combined by any associative operation: folded to one element, or every prefix kept.

A static axis is halved (or its prefixes doubled) until nothing is left to combine: the logarithm of its size in steps
over whole arrays. A symbolic axis is a Scan, one element after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext
from j2o_core._compat import is_symbolic

from ._empty_sequences import unless_empty

Values = Sequence[ir.Value]
Combine = Callable[[LoweringContext, Values, Values], Values]


def lowest(dtype: np.dtype[Any]) -> Any:
    """The lowest number of a dtype: the identity element of the maximum."""
    if dtype == np.bool_:
        return False
    if "float" in dtype.name:
        return -np.inf if has_infinity(dtype) else ml_dtypes.finfo(dtype).min
    return ml_dtypes.iinfo(dtype).min


def highest(dtype: np.dtype[Any]) -> Any:
    """The highest number of a dtype: the identity element of the minimum."""
    if dtype == np.bool_:
        return True
    if "float" in dtype.name:
        return np.inf if has_infinity(dtype) else ml_dtypes.finfo(dtype).max
    return ml_dtypes.iinfo(dtype).max


def has_infinity(dtype: np.dtype[Any]) -> bool:
    """Whether a float has infinities: some of eight bits have only NaN."""
    return bool(np.isinf(np.array(np.inf, dtype)))


def fold(
    ctx: LoweringContext, xs: Values, shape: Sequence[Any], axis: int, combine: Combine, identities: Values
) -> list[ir.Value]:
    """`combine(...combine(x[0], x[1])..., x[-1])` along an axis, which goes away.

    Args:
        ctx: the context.
        xs: arrays of one shape, combined as a tuple.
        shape: their shape.
        axis: the axis.
        combine: an associative operation on two tuples.
        identities: its identity elements, scalars: what an empty axis gives. What lies along a symbolic
            axis is combined with them once, whatever they are.
    """
    kept = [size for position, size in enumerate(shape) if position != axis]
    if is_symbolic(shape[axis]):
        return _scanned(ctx, xs, shape[axis], kept, axis, combine, identities)
    size = int(shape[axis])
    if size == 0:
        return [ctx.expand(identity, kept) for identity in identities]
    while size > 1:
        half = size // 2
        lower, upper = (_cut(ctx, xs, axis, start, start + half) for start in (0, half))
        folded = combine(ctx, lower, upper)
        if size % 2:
            rest = _cut(ctx, xs, axis, size - 1, size)
            folded = [ctx.op.Concat(*pair, axis=axis) for pair in zip(folded, rest, strict=True)]
        xs, size = folded, half + size % 2
    return [ctx.op.Squeeze(x, ctx.const([axis], np.int64)) for x in xs]


def prefixes(
    ctx: LoweringContext,
    xs: Values,
    shape: Sequence[Any],
    axis: int,
    combine: Combine,
    identities: Values,
    *,
    reverse: bool = False,
) -> list[ir.Value]:
    """Every prefix (suffix, if `reverse`) along an axis, folded; see `fold`."""
    if is_symbolic(shape[axis]):
        kept = [size for position, size in enumerate(shape) if position != axis]
        return _scanned(ctx, xs, shape[axis], kept, axis, combine, identities, stacked=True, reverse=reverse)
    size, distance = int(shape[axis]), 1
    while distance < size:
        # x[i] becomes the combination of x[i - distance] and x[i], where the former is in the array.
        first, last = _cut(ctx, xs, axis, 0, size - distance), _cut(ctx, xs, axis, distance, size)
        combined = combine(ctx, last, first) if reverse else combine(ctx, first, last)
        done = _cut(ctx, xs, axis, size - distance, size) if reverse else _cut(ctx, xs, axis, 0, distance)
        parts = zip(combined, done, strict=True) if reverse else zip(done, combined, strict=True)
        xs = [ctx.op.Concat(*pair, axis=axis) for pair in parts]
        distance *= 2
    return list(xs)


def _cut(ctx: LoweringContext, xs: Values, axis: int, start: int, stop: int) -> list[ir.Value]:
    bounds = [ctx.const([position], np.int64) for position in (start, stop, axis)]
    return [ctx.op.Slice(x, *bounds) for x in xs]


def _scanned(
    ctx: LoweringContext,
    xs: Values,
    length: Any,
    kept: Sequence[Any],
    axis: int,
    combine: Combine,
    identities: Values,
    *,
    stacked: bool = False,
    reverse: bool = False,
) -> list[ir.Value]:
    count = len(xs)
    # Along another axis, ONNX Runtime's Scan ends the process where arrays are empty: it goes along the first here.
    there, back = [axis, *(i for i in range(len(kept) + 1) if i != axis)], [*range(1, axis + 1), 0]
    back += range(axis + 1, len(kept) + 1)

    def body(inner: LoweringContext, *values: ir.Value) -> list[ir.Value]:
        total = list(combine(inner, values[:count], values[count:]))
        return total * 2 if stacked else total

    avals = [jax.ShapeDtypeStruct(tuple(kept), ctx.dtype(x)) for x in xs]

    def full(inner: LoweringContext) -> list[ir.Value]:
        results = inner.op.Scan(
            *(inner.expand(identity, kept) for identity in identities),
            *(inner.op.Transpose(x, perm=there) for x in xs),
            body=inner.subgraph(None, avals * 2, body),
            num_scan_inputs=count,
            scan_input_directions=[int(reverse)] * count,
            scan_output_directions=[int(reverse)] * count if stacked else None,
            outputs=count * 2 if stacked else count,
        )
        results = ([results] if isinstance(results, ir.Value) else list(results))[-count:]
        return [inner.op.Transpose(y, perm=back) for y in results] if stacked else results

    def empty(inner: LoweringContext) -> list[ir.Value]:
        return list(xs) if stacked else [inner.expand(identity, kept) for identity in identities]

    shape = (*kept[:axis], length, *kept[axis:])
    results = [jax.ShapeDtypeStruct(shape, aval.dtype) for aval in avals] if stacked else avals
    return list(unless_empty(ctx, length, results, full, empty))
