"""Convolution: Conv, ConvTranspose, and matrix products of windows for what has no Conv or is slow as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax

from j2o_core import LoweringContext

from ._plugin import plugin
from ._shapes import flip
from ._windows import Window, dilate_and_pad, gather_windows, is_empty, is_static, pad, windows_of

# The most slices that windows are made of, and the most numbers that the windows have together.
_SLICES = 32
_NUMBERS = 1 << 26
_BATCH = 32  # a symbolic axis, to guess how many numbers there are


@plugin.lowering(lax.conv_general_dilated_p, ignores=("out_sharding", "precision", "preferred_element_type"))
def _conv_general_dilated(
    ctx: LoweringContext,
    lhs: ir.Value,
    rhs: ir.Value,
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[Any, Any]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
) -> ir.Value:
    x_aval, w_aval = ctx.avals_in
    (out,) = ctx.avals_out
    x_axes, w_axes, out_axes = dimension_numbers
    x_shape = [x_aval.shape[axis] for axis in x_axes]
    w_shape = [w_aval.shape[axis] for axis in w_axes]
    out_shape = [out.shape[axis] for axis in out_axes]
    if is_empty(out.shape) or is_empty(x_shape) or is_empty(w_shape):
        return ctx.expand(ctx.const(0, out.dtype), out.shape)

    wide = _accumulator(x_aval.dtype, out.dtype)
    x = ctx.cast(ctx.op.Transpose(lhs, perm=x_axes), wide)
    w = ctx.cast(ctx.op.Transpose(rhs, perm=w_axes), wide)
    groups = feature_group_count
    if batch_group_count > 1:
        # Each slice of the batch has filters of its own: the slices side by side are feature groups.
        groups = batch_group_count
        batch, features, *spatial = x_shape
        x = ctx.reshape(x, [groups, batch // groups, features, *spatial])
        x = ctx.op.Transpose(x, perm=[1, 0, *range(2, len(x_shape) + 1)])
        x_shape = [batch // groups, groups * features, *spatial]
        x = ctx.reshape(x, x_shape)

    windows = windows_of(w_shape[2:], window_strides, padding, lhs_dilation, rhs_dilation, x_shape[2:], out_shape[2:])
    if not windows:  # ONNX wants at least one spatial axis
        windows = [Window(1, 1, 0, 0, 1, 1, 1, 1)]
        x_shape, w_shape = [*x_shape, 1], [*w_shape, 1]
        x, w = ctx.reshape(x, x_shape), ctx.reshape(w, w_shape)
        y = _convolve(ctx, x, w, x_shape, w_shape, windows, groups)
        y = ctx.reshape(y, out_shape)
    else:
        y = ctx.shaped(_convolve(ctx, x, w, x_shape, w_shape, windows, groups), out_shape)
    y = ctx.op.Transpose(y, perm=np.argsort(out_axes).tolist())
    if out.dtype == np.bool_:
        return ctx.op.Greater(y, ctx.const(0, y))
    return ctx.cast(y, out.dtype)


def _accumulator(operand: np.dtype[Any], result: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype to compute in: the wider of the two, and float32 at least where integers become floats."""
    if result == np.bool_:
        return np.dtype(np.float32)  # counts of true pairs: positive stays positive
    wide = jnp.promote_types(operand, result)
    if jnp.issubdtype(operand, np.integer) and jnp.issubdtype(result, np.floating):
        wide = jnp.promote_types(wide, np.float32)
    return np.dtype(wide)


def _convolve(
    ctx: LoweringContext,
    x: ir.Value,
    w: ir.Value,
    x_shape: Sequence[Any],
    w_shape: Sequence[Any],
    windows: Sequence[Window],
    groups: int,
) -> ir.Value:
    """Batch, features, space by out-features, in-features, window."""
    assert x.dtype is not None
    if not x.dtype.is_floating_point() or not is_static(*w_shape):
        return _matrix_product(ctx, x, w, x_shape, w_shape, windows, groups)
    is_dilated = any(window.base > 1 for window in windows)
    # Without a kernel legalize writes Conv as a product, whose zeros cost little beside it.
    runs = ctx.target.runs_widened("ConvTranspose", x.dtype)
    if is_dilated and runs and all(window.stride == 1 for window in windows):
        return _transposed(ctx, x, w, w_shape, windows, groups)
    if groups == 1 and not is_dilated and not ctx.is_weight(w) and _has_few_wide(x_shape, windows):
        return _product_of_slices(ctx, x, w, x_shape, w_shape, windows)
    zero = ctx.const(0, x)
    amounts = [amount for window in windows for amount in (window.low, window.high)]
    if is_dilated or not is_static(*amounts) or min(amounts) < 0:
        x = dilate_and_pad(ctx, x, zero, x_shape, windows)
        pads = None
    else:
        pads = [*(window.low for window in windows), *(window.high for window in windows)]
    return ctx.op.Conv(
        x,
        w,
        group=groups,
        strides=[window.stride for window in windows],
        dilations=[window.dilation for window in windows],
        kernel_shape=list(w_shape[2:]),
        pads=pads,
    )


def _transposed(
    ctx: LoweringContext,
    x: ir.Value,
    w: ir.Value,
    w_shape: Sequence[int],
    windows: Sequence[Window],
    groups: int,
) -> ir.Value:
    """A convolution of a dilated input: ConvTranspose does not multiply the zeros."""
    out_features, in_features, *window_shape = w_shape
    spatial = list(range(2, len(w_shape)))
    # (g o, i, k) -> (g i, o, k), each axis of the window back to front.
    known = ctx.constant_value(w)
    w = flip(ctx, w, dimensions=spatial) if known is None else ctx.const(np.flip(known, tuple(spatial)))
    w = ctx.reshape(w, [groups, out_features // groups, in_features, *window_shape])
    w = ctx.op.Transpose(w, perm=[0, 2, 1, *(axis + 1 for axis in spatial)])
    w = ctx.reshape(w, [groups * in_features, out_features // groups, *window_shape])
    reach = [(window.size - 1) * window.dilation for window in windows]
    # ConvTranspose's padding crops the full result; what JAX pads beyond that are zeros around it.
    crops = [
        [low - window.low for low, window in zip(reach, windows, strict=True)],
        [high - window.high for high, window in zip(reach, windows, strict=True)],
    ]
    static = is_static(*crops[0], *crops[1])
    inner = [[max(crop, 0) if static else 0 for crop in side] for side in crops]
    y = ctx.op.ConvTranspose(
        x,
        w,
        group=groups,
        strides=[window.base for window in windows],
        dilations=[window.dilation for window in windows],
        kernel_shape=window_shape,
        pads=[*inner[0], *inner[1]],
    )
    rest = [[i - c for i, c in zip(*sides, strict=True)] for sides in zip(inner, crops, strict=True)]
    return pad(ctx, y, ctx.const(0, x), [0, 0, *rest[0]], [0, 0, *rest[1]])


def _has_few_wide(x_shape: Sequence[Any], windows: Sequence[Window]) -> bool:
    """Whether there are few windows and each is large, as where the weights of a convolution are differentiated.

    There the images are the weights, and ONNX Runtime's Conv is up to five times slower than a product.
    """
    sizes, counts = ([getattr(window, name) for window in windows] for name in ("size", "count"))
    if not is_static(*counts, *x_shape[2:], *(amount for window in windows for amount in (window.low, window.high))):
        return False
    overlap = all(window.count == 1 or window.stride < window.size for window in windows)
    few = 2 * math.prod(counts) <= math.prod(sizes) and sum(counts) <= _SLICES
    guess = math.prod(size if is_static(size) else _BATCH for size in x_shape[:2])
    return overlap and few and guess * math.prod(counts) * math.prod(sizes) <= _NUMBERS


def _product_of_slices(
    ctx: LoweringContext,
    x: ir.Value,
    w: ir.Value,
    x_shape: Sequence[Any],
    w_shape: Sequence[int],
    windows: Sequence[Window],
) -> ir.Value:
    """Windows side by side, (o1 o2 n, i k1 k2), times the filters, (i k1 k2, o)."""
    x = dilate_and_pad(ctx, x, ctx.const(0, x), x_shape, windows)
    for axis, window in reversed(list(enumerate(windows, 2))):
        reach = (window.size - 1) * window.dilation + 1
        starts = [place * window.stride for place in range(window.count)]
        slices = [
            ctx.op.Slice(
                x, *(ctx.const([number], np.int64) for number in (start, start + reach, axis, window.dilation))
            )
            for start in starts
        ]
        x = ctx.op.Concat(*slices, axis=0)
    counts = [window.count for window in windows]
    columns = math.prod(w_shape[2:]) * w_shape[1]
    x = ctx.reshape(x, [math.prod(counts) * x_shape[0], columns])
    w = ctx.op.Transpose(w, perm=[*range(1, len(w_shape)), 0])
    y = ctx.op.MatMul(x, ctx.reshape(w, [columns, w_shape[0]]))
    y = ctx.reshape(y, [*counts, x_shape[0], w_shape[0]])
    rank = len(counts)
    return ctx.op.Transpose(y, perm=[rank, rank + 1, *range(rank)])


def _matrix_product(
    ctx: LoweringContext,
    x: ir.Value,
    w: ir.Value,
    x_shape: Sequence[Any],
    w_shape: Sequence[Any],
    windows: Sequence[Window],
    groups: int,
) -> ir.Value:
    """Every window as a row, times the filters as columns."""
    batch = x_shape[0]
    out_features, in_features, *window_shape = w_shape
    counts = [window.count for window in windows]
    rank = len(windows)
    x = dilate_and_pad(ctx, x, ctx.const(0, x), x_shape, windows)
    x = gather_windows(ctx, x, windows, axis=2)
    pairs = [size for window in windows for size in (window.count, window.size)]
    # (n, g i, o1, k1, o2, k2) -> (n, g, o1, o2, i, k1, k2)
    x = ctx.reshape(x, [batch, groups, in_features, *pairs])
    x = ctx.op.Transpose(x, perm=[0, 1, *range(3, 3 + 2 * rank, 2), 2, *range(4, 4 + 2 * rank, 2)])
    rows, columns = math.prod(counts), math.prod(window_shape, start=in_features)
    x = ctx.reshape(x, [batch, groups, rows, columns])
    w = ctx.reshape(w, [groups, out_features // groups, columns])
    y = ctx.op.MatMul(x, ctx.op.Transpose(w, perm=[0, 2, 1]))
    y = ctx.op.Transpose(y, perm=[0, 1, 3, 2])
    return ctx.reshape(y, [batch, out_features, *counts])
