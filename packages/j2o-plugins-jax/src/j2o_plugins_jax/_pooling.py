"""Reductions over sliding windows: MaxPool and AveragePool where ONNX has them, else gathered windows reduced."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import lax
from jax.extend.core import jaxpr_as_fun

from j2o_core import LoweringContext
from j2o_core.graph._sizes import is_asked_to_be_zero

from ._folding import highest, lowest
from ._mapped import mapped
from ._plugin import plugin
from ._windows import (
    Window,
    dilate_and_pad,
    gather_windows,
    is_empty,
    is_static,
    pad,
    window_elements,
    window_params,
    windows_of,
)
from .indexing._indices import index_range

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


class Pooling:
    """One windowed reduction with its axes sorted: those that no window moves over first.

    Attributes:
        windows: the windows of the moving axes.
        still: sizes of the other axes.
        perm: axis order of the operand that puts the still axes first.
        out_shape: the result's shape, before the axes are put back.
    """

    def __init__(
        self,
        shape: Sequence[Any],
        out_shape: Sequence[Any],
        window_dimensions: Sequence[int],
        window_strides: Sequence[int],
        padding: Sequence[tuple[Any, Any]],
        base_dilation: Sequence[int] | None = None,
        window_dilation: Sequence[int] | None = None,
    ):
        ones = (1,) * len(shape)
        dilations = base_dilation or ones, window_dilation or ones
        given = windows_of(window_dimensions, window_strides, padding, *dilations, shape, out_shape)
        every = [window.trimmed() for window in given]
        moving = [axis for axis, window in enumerate(every) if _moves(window)]
        still = [axis for axis in range(len(every)) if axis not in moving]
        self.perm = [*still, *moving]
        self.windows = [every[axis] for axis in moving]
        self.still = [shape[axis] for axis in still]
        self.shape = [shape[axis] for axis in self.perm]
        self.out_shape = [out_shape[axis] for axis in self.perm]

    def apply(
        self,
        ctx: LoweringContext,
        xs: Sequence[ir.Value],
        reduce: Callable[..., Sequence[ir.Value]],
        *,
        moving_first: bool = False,
    ) -> list[ir.Value]:
        """`reduce` on the operands as (still..., moving...), its results with the axes in order again.

        With `moving_first` the operands are (moving..., still...), of which windows are gathered as rows.
        """
        still = len(self.still)
        perm = [*self.perm[still:], *self.perm[:still]] if moving_first else self.perm
        back = np.argsort(perm).tolist()
        results = reduce(*(ctx.op.Transpose(x, perm=perm) for x in xs))
        return [ctx.op.Transpose(result, perm=back) for result in results]

    def gathered(self, ctx: LoweringContext, x: ir.Value, padding: ir.Value) -> ir.Value:
        """(still..., moving...) as (still product, windows, window size)."""
        x = dilate_and_pad(ctx, x, padding, self.shape, self.windows)
        first, rank = len(self.still), len(self.windows)
        x = gather_windows(ctx, x, self.windows, axis=first)
        order = [*range(first), *range(first, first + 2 * rank, 2), *range(first + 1, first + 2 * rank, 2)]
        x = ctx.op.Transpose(x, perm=order)
        return ctx.reshape(x, [math.prod(self.still), self.window_count, self.window_size])

    def padded_rows(self, ctx: LoweringContext, x: ir.Value, padding: ir.Value) -> ir.Value:
        """(moving..., still...) padded, as (moving..., still product)."""
        shape = [*self.shape[len(self.still) :], *self.still]
        x = dilate_and_pad(ctx, x, padding, shape, self.windows, behind=len(self.still))
        return ctx.reshape(x, [*(window.padded for window in self.windows), math.prod(self.still)])

    @property
    def pads_fit(self) -> bool:
        """Whether pooling operators can pad: by what is not negative and below the window's size."""
        return all(
            window.base == 1
            and is_static(window.low, window.high)
            and 0 <= window.low < window.size
            and 0 <= window.high < window.size
            for window in self.windows
        )

    @property
    def window_count(self) -> Any:
        """How many windows there are."""
        return math.prod(window.count for window in self.windows)

    @property
    def window_size(self) -> int:
        """Elements in a window."""
        return math.prod(window.size for window in self.windows)


def _moves(window: Window) -> bool:
    return not (
        window.size == 1
        and window.stride == 1
        and window.base == 1
        and is_static(window.low, window.high)
        and window.low == 0 == window.high
    )


def _reduce_window(
    ctx: LoweringContext,
    x: ir.Value,
    *,
    identity: Callable[..., Any],
    pool: Callable[..., ir.Value | None],
    reduce: Callable[..., Any],
    **params: Any,
) -> ir.Value:
    (aval,), (out,), init = ctx.avals_in, ctx.avals_out, ctx.const(identity(ctx.dtype(x)), x)
    if is_empty(out.shape) or is_empty(aval.shape):
        return ctx.expand(init, out.shape)
    pooling = Pooling(aval.shape, out.shape, **window_params(params))
    if not pooling.windows:
        return x

    def run(x: ir.Value) -> list[ir.Value]:
        y = pool(ctx, x, init, pooling)
        if y is None:
            y = ctx.lower_fun(lambda windows: reduce(windows, (2,)), pooling.gathered(ctx, x, init))
        return [ctx.reshape(y, pooling.out_shape)]

    return pooling.apply(ctx, [x], run)[0]


def _as_images(
    ctx: LoweringContext, x: ir.Value, init: ir.Value, pooling: Pooling
) -> tuple[ir.Value, dict[str, Any], list[Any]] | None:
    """(batch, features, moving...), a pooling operator's attributes and result shape; None if ONNX has none for it."""
    windows = pooling.windows
    if len(windows) > 3:
        return None
    shape = pooling.shape
    if len(pooling.still) != 2:
        # The last axis that no window moves over as features: then a batch that JAX has mapped is a batch again.
        shape = [math.prod(pooling.still[:-1]), *(pooling.still[-1:] or [1]), *shape[len(pooling.still) :]]
        x = ctx.reshape(x, shape)
    attributes: dict[str, Any] = {
        "kernel_shape": [window.size for window in windows],
        "strides": [window.stride for window in windows],
    }
    if pooling.pads_fit:
        attributes["pads"] = [*(window.low for window in windows), *(window.high for window in windows)]
    else:
        x = dilate_and_pad(ctx, x, init, shape, windows)
    if any(window.dilation != 1 for window in windows):
        attributes["dilations"] = [window.dilation for window in windows]
    return x, attributes, [*shape[:2], *(window.count for window in windows)]


def _average_pool(ctx: LoweringContext, x: ir.Value, zero: ir.Value, pooling: Pooling) -> ir.Value | None:
    if not ctx.target.runs_widened("AveragePool", x.dtype):
        return None
    # ONNX Runtime 1.31 joins a Pad in front with the operator, whatever it pads, and then refuses the result.
    if not pooling.pads_fit:
        return None
    if ctx.opset < 19 and any(window.dilation != 1 for window in pooling.windows):
        return None
    images = _as_images(ctx, x, zero, pooling)
    if images is None:
        return None
    x, attributes, shape = images
    mean = ctx.shaped(ctx.op.AveragePool(x, **attributes, count_include_pad=1), shape)
    return ctx.op.Mul(mean, ctx.const(pooling.window_size, x))


def _max_pool(ctx: LoweringContext, x: ir.Value, init: ir.Value, pooling: Pooling) -> ir.Value | None:
    if not ctx.target.runs_widened("MaxPool", x.dtype):
        return None
    # The nodes that make the operator exact for NaN have no If around them.
    if ctx.exact_nonfinite and any(map(is_asked_to_be_zero, (*pooling.shape, *pooling.out_shape))):
        return None
    images = _as_images(ctx, x, init, pooling)
    if images is None:
        return None
    x, attributes, shape = images
    return ctx.shaped(ctx.op.MaxPool(x, **attributes), shape)


def _min_pool(ctx: LoweringContext, x: ir.Value, init: ir.Value, pooling: Pooling) -> ir.Value | None:
    if x.dtype not in _FLOATS:
        return None
    y = _max_pool(ctx, ctx.op.Neg(x), ctx.const(-np.inf, x), pooling)
    return ctx.op.Neg(y) if y is not None else None


for _primitive, _identity, _pool, _reduce in (
    (lax.reduce_window_sum_p, lambda dtype: 0, _average_pool, lax.reduce_sum),
    (lax.reduce_window_max_p, lowest, _max_pool, lax.reduce_max),
    (lax.reduce_window_min_p, highest, _min_pool, lax.reduce_min),
):
    _rule = functools.partial(_reduce_window, identity=_identity, pool=_pool, reduce=_reduce)
    plugin.lowering(_primitive)(_rule)


@plugin.lowering(lax.reduce_window_p)
def _reduce_window_any(ctx: LoweringContext, *operands: ir.Value, jaxpr: Any, **params: Any) -> Any:
    """Any reducer: the halves of every window are combined until one element is left, then the initial values."""
    count = len(operands) // 2
    xs, inits = operands[:count], operands[count:]
    aval, out = ctx.avals_in[0], ctx.avals_out[0]
    if is_empty(out.shape) or is_empty(aval.shape):
        return [ctx.expand(init, out.shape) for init in inits]
    if not aval.shape:
        return xs  # XLA leaves scalars as they are, whatever the initial values
    pooling = Pooling(aval.shape, out.shape, **window_params(params))
    scalar = jaxpr_as_fun(jaxpr)

    def combine(left: Sequence[Any], right: Sequence[Any]) -> Any:
        return mapped(scalar, *left, *right, rank=0)

    def join(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
        """Combine two elements, each with a flag that is False for padding, which is left out."""
        *left, there = left
        *right, here = right
        both = combine(left, right)
        either = [jnp.where(there, a, b) for a, b in zip(left, right, strict=True)]
        return [*(jnp.where(there & here, a, b) for a, b in zip(both, either, strict=True)), there | here]

    def fold(*arrays: Any) -> Any:
        inits, windows = arrays[:count], list(arrays[count:])
        merge = join if padded else combine
        if padded:
            windows[-1] = windows[-1] == 1
        size = pooling.window_size
        while size > 1:
            half = size // 2
            pairs = merge([w[:, :, :half] for w in windows], [w[:, :, half : 2 * half] for w in windows])
            rest = [w[:, :, 2 * half :] for w in windows]
            windows = [jnp.concatenate(parts, 2) for parts in zip(pairs, rest, strict=True)] if size % 2 else pairs
            size -= half
        items = [window[:, :, 0] for window in windows]
        first = [jnp.broadcast_to(init, items[0].shape) for init in inits]
        if padded:
            return join([*first, jnp.ones_like(items[-1])], items)[:count]
        return combine(first, items)

    padded = any((window.low, window.high, window.base) != (0, 0, 1) for window in pooling.windows)

    def run(*xs: ir.Value) -> list[ir.Value]:
        windows = [pooling.gathered(ctx, x, init) for x, init in zip(xs, inits, strict=True)]
        if padded:
            ones = ctx.expand(ctx.const(1, np.int32), pooling.shape)
            windows.append(pooling.gathered(ctx, ones, ctx.const(0, np.int32)))
        return [ctx.reshape(result, pooling.out_shape) for result in ctx.lower_fun(fold, *inits, *windows)]

    return pooling.apply(ctx, xs, run)


def _selected(windows: Any, taken: Any, *, largest: bool) -> Any:
    """The first largest (smallest) element behind the last NaN of each column, or NaN itself if nothing is behind it.

    XLA goes through a window and takes an element where the one before is not at least as large. `taken` says which
    elements it sees.
    """
    worst, reduce = (-jnp.inf, jnp.max) if largest else (jnp.inf, jnp.min)
    place, nan = lax.broadcasted_iota(np.int32, (windows.shape[0], 1), 0), jnp.isnan(windows)
    last_nan, last = (jnp.max(jnp.where(some, place, -1), 0, keepdims=True) for some in (nan, taken))
    behind = taken & (place > jnp.minimum(last_nan, last - 1))
    numbers = jnp.where(nan | ~behind, jnp.asarray(worst, windows.dtype), windows)
    return jnp.argmax(behind & (numbers == reduce(numbers, 0, keepdims=True)), 0)


def _columns(ctx: LoweringContext, x: ir.Value, pooling: Pooling, rows: Any) -> ir.Value:
    """Padded (moving..., rows) as windows in columns: (window size, windows * rows)."""
    rank = len(pooling.windows)
    for axis, window in enumerate(pooling.windows):
        x = ctx.op.Gather(x, window_elements(ctx, window, first=True), axis=2 * axis)
    x = ctx.op.Transpose(x, perm=[*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank])
    return ctx.reshape(x, [pooling.window_size, pooling.window_count * rows])


def _beyond_all(ctx: LoweringContext, x: ir.Value, select_prim: Any) -> ir.Value:
    """The number that is selected in the place of no other: the lowest one for `ge`, else the highest."""
    return ctx.const((lowest if select_prim is lax.ge_p else highest)(ctx.dtype(x)), x)


def _winners(
    ctx: LoweringContext, x: ir.Value, pooling: Pooling, select_prim: Any, *, padding: bool
) -> tuple[ir.Value, ir.Value]:
    """The padded operand's windows in columns, and where the selected element of each lies: (windows, still product).

    With `padding` the elements around the operand are elements, too.
    """
    largest = select_prim is lax.ge_p
    init = _beyond_all(ctx, x, select_prim)
    rows = math.prod(pooling.still)
    x = _columns(ctx, pooling.padded_rows(ctx, x, init), pooling, rows)
    if ctx.exact_nonfinite and x.dtype in _FLOATS:
        taken = ctx.const(True)
        if not padding:
            shape = [window.length for window in pooling.windows]
            ones = ctx.expand(ctx.const(1, np.int32), [*shape, *pooling.still])
            taken = ctx.cast(_columns(ctx, pooling.padded_rows(ctx, ones, ctx.const(0, np.int32)), pooling, rows), bool)
        inside = ctx.cast(ctx.lower_fun(_selected, x, taken, largest=largest), np.int64)
    else:
        inside = ctx.op("ArgMax" if largest else "ArgMin", x, axis=0, keepdims=0)
    # Row-major position: the window's corner plus the offset in the window.
    corners = offsets = ctx.const([0], np.int64)
    for window in pooling.windows:
        length = ctx.dim(window.padded)
        corners = _row_major(
            ctx, corners, length, ctx.op.Mul(index_range(ctx, window.count), ctx.const(window.stride, np.int64))
        )
        offsets = _row_major(ctx, offsets, length, ctx.const(np.arange(window.size) * window.dilation, np.int64))
    offset = ctx.reshape(ctx.op.Gather(offsets, inside, axis=0), [pooling.window_count, rows])
    return x, ctx.op.Add(offset, ctx.op.Unsqueeze(corners, ctx.const([1], np.int64)))


def _row_major(ctx: LoweringContext, outer: ir.Value, length: ir.Value, inner: ir.Value) -> ir.Value:
    """Positions in two axes from those in each: all pairs of `outer * length + inner`, flat."""
    rows = ctx.op.Unsqueeze(ctx.op.Mul(outer, length), ctx.const([1], np.int64))
    return ctx.op.Reshape(ctx.op.Add(rows, inner), ctx.const([-1], np.int64))


@plugin.lowering(lax.select_and_scatter_add_p)
def _select_and_scatter_add(
    ctx: LoweringContext, source: ir.Value, operand: ir.Value, *, select_prim: Any, **params: Any
) -> ir.Value:
    source_aval, aval = ctx.avals_in
    zero = ctx.const(0, source)
    if is_empty(source_aval.shape) or is_empty(aval.shape):
        return ctx.expand(zero, aval.shape)
    pooling = Pooling(aval.shape, source_aval.shape, **window_params(params))

    def run(source: ir.Value, x: ir.Value) -> list[ir.Value]:
        rows = math.prod(pooling.still)
        padded = [window.padded for window in pooling.windows]
        sums = ctx.op.ScatterElements(
            ctx.expand(zero, [math.prod(padded), rows]),
            _winners(ctx, x, pooling, select_prim, padding=True)[1],
            ctx.reshape(source, [pooling.window_count, rows]),
            axis=0,
            reduction="add",
        )
        sums = ctx.reshape(sums, [*padded, *pooling.still])
        nothing = [0] * len(pooling.still)
        low = [*(-window.low for window in pooling.windows), *nothing]
        high = [*(-window.high for window in pooling.windows), *nothing]
        return [pad(ctx, sums, zero, low, high)]

    return pooling.apply(ctx, [source, operand], run, moving_first=True)[0]


@plugin.lowering("select_and_gather_add")
def _select_and_gather_add(
    ctx: LoweringContext, tangents: ir.Value, operand: ir.Value, *, select_prim: Any, **params: Any
) -> ir.Value:
    (_, aval), (out,) = ctx.avals_in, ctx.avals_out
    zero = ctx.const(0, tangents)
    if is_empty(out.shape) or is_empty(aval.shape):
        return ctx.expand(zero, out.shape)
    pooling = Pooling(aval.shape, out.shape, **window_params(params))

    def run(tangents: ir.Value, x: ir.Value) -> list[ir.Value]:
        padded = [window.padded for window in pooling.windows]
        flat = ctx.reshape(pooling.padded_rows(ctx, tangents, zero), [math.prod(padded), math.prod(pooling.still)])
        windows, places = _winners(ctx, x, pooling, select_prim, padding=False)
        chosen = ctx.op.GatherElements(flat, places, axis=0)
        if ctx.exact_nonfinite and x.dtype in _FLOATS:  # the initial value of a window wins where no element is larger
            begin = _beyond_all(ctx, x, select_prim)
            larger = ctx.lower_fun(lambda elements, begin: (elements != begin).any(0), windows, begin)
            shape = [pooling.window_count, math.prod(pooling.still)]
            chosen = ctx.op.Where(ctx.reshape(larger, shape), chosen, zero)
        return [ctx.reshape(chosen, [*(window.count for window in pooling.windows), *pooling.still])]

    return pooling.apply(ctx, [tangents, operand], run, moving_first=True)[0]
