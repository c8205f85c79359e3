"""Sliding windows along axes: zeros put in and around, and every window gathered, for convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from jax import export

from j2o_core import LoweringContext
from j2o_core.graph._values import shape_of

from .indexing._indices import index_range


@dataclass(frozen=True)
class Window:
    """How a window slides along one axis. Sizes and padding may be symbolic dimensions.

    Attributes:
        size: elements in the window.
        stride: step from one window to the next.
        low: padding before the axis; negative padding crops.
        high: padding behind it.
        base: dilation of the axis: `base - 1` padding elements between neighbours.
        dilation: distance of neighbouring elements inside the window.
        length: length of the axis.
        count: number of windows.
    """

    size: Any
    stride: int
    low: Any
    high: Any
    base: int
    dilation: int
    length: Any
    count: Any

    @property
    def padded(self) -> Any:
        """Length of the axis after base dilation and padding."""
        inner = self.length if self.base == 1 else (self.length - 1) * self.base + 1
        return inner + self.low + self.high

    def trimmed(self) -> Window:
        """Without the padding behind the axis that no window reaches."""
        if not is_static(self.padded, self.count) or self.high <= 0:
            return self
        unread = self.padded - ((self.count - 1) * self.stride + (self.size - 1) * self.dilation + 1)
        return replace(self, high=max(self.high - unread, 0))


def windows_of(*of_axes: Sequence[Any]) -> list[Window]:
    """A window for each axis.

    Args:
        of_axes: sizes, strides, paddings (low, high), base dilations, window dilations, lengths and counts.
    """
    return [Window(size, stride, *padding, *rest) for size, stride, padding, *rest in zip(*of_axes, strict=True)]


def is_static(*sizes: Any) -> bool:
    """Whether no size is a symbolic dimension."""
    return not any(export.is_symbolic_dim(size) for size in sizes)


def is_empty(shape: Sequence[Any]) -> bool:
    """Whether an array of this shape has no elements, whatever the symbolic dimensions are."""
    return any(is_static(size) and size == 0 for size in shape)


def window_params(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a windowed reduction that say where its windows are."""
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    return {name: params[name] for name in names if name in params}


def pad(ctx: LoweringContext, x: ir.Value, value: ir.Value, low: Sequence[Any], high: Sequence[Any]) -> ir.Value:
    """`x` with a scalar around it; negative amounts crop, amounts may be symbolic."""
    amounts = [*low, *high]
    if all(is_static(amount) and amount == 0 for amount in amounts):
        return x
    result = ctx.op.Pad(x, ctx.shape(amounts), value)
    shape = shape_of(x)
    return result if shape is None else ctx.shaped(result, [sum(sizes) for sizes in zip(shape, low, high, strict=True)])


def dilate_and_pad(
    ctx: LoweringContext, x: ir.Value, value: ir.Value, shape: Sequence[Any], windows: Sequence[Window], behind: int = 0
) -> ir.Value:
    """`x` with base dilation and padding of axes done: the last ones but `behind`; `shape` is its shape before."""
    first = len(shape) - len(windows) - behind
    lead, rest = list(shape[:first]), list(shape[first + len(windows) :])
    highs = [window.high for window in windows]
    if any(window.base > 1 for window in windows):
        # (n) -> (n, 1) -> (n, base) -> (n * base): the elements behind the last one are cropped with the padding.
        split: list[Any] = list(lead)
        grown: list[Any] = list(lead)
        after = [0] * len(lead)
        for window in windows:
            split += [window.length, 1] if window.base > 1 else [window.length]
            after += [0, window.base - 1] if window.base > 1 else [0]
            grown.append(window.length * window.base)
        x = pad(ctx, ctx.reshape(x, [*split, *rest]), value, [0] * (len(split) + behind), [*after, *[0] * behind])
        x = ctx.reshape(x, [*grown, *rest])
        highs = [high - (window.base - 1) for high, window in zip(highs, windows, strict=True)]
    lows = [window.low for window in windows]
    return pad(ctx, x, value, *([*[0] * first, *amounts, *[0] * behind] for amounts in (lows, highs)))


def gather_windows(ctx: LoweringContext, x: ir.Value, windows: Sequence[Window], axis: int) -> ir.Value:
    """All windows along axes of padded `x` from `axis` on: (n, m) becomes (count_n, size_n, count_m, size_m)."""
    for window in windows:
        x = ctx.op.Gather(x, window_elements(ctx, window), axis=axis)
        axis += 2
    return x


def window_elements(ctx: LoweringContext, window: Window, *, first: bool = False) -> ir.Value:
    """Where the elements of each window lie: (count, size), or (size, count) with the first elements `first`."""
    if is_static(window.count, window.size):
        places = np.arange(window.count)[:, None] * window.stride + np.arange(window.size) * window.dilation
        return ctx.const(places.T if first else places, np.int64)
    behind, front = ctx.const([1], np.int64), ctx.const([0], np.int64)
    starts, inside = _steps(ctx, window.count, window.stride), _steps(ctx, window.size, window.dilation)
    starts, inside = (
        ctx.op.Unsqueeze(steps, behind if is_row == first else front)
        for steps, is_row in ((starts, False), (inside, True))
    )
    return ctx.op.Add(starts, inside)


def _steps(ctx: LoweringContext, count: Any, step: int) -> ir.Value:
    """0, step, 2 step, ..."""
    return ctx.op.Mul(index_range(ctx, count), ctx.const(step, np.int64))
