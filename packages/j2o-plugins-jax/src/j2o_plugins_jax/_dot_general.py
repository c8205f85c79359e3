"""dot_general as MatMul: the activation on the left, the weight on the right, as few transposes as it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext

from ._plugin import plugin

_Dimensions = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True)
class _Side:
    """One operand of the product and what its axes are for."""

    value: ir.Value
    shape: tuple[Any, ...]
    batch: tuple[int, ...]
    contract: tuple[int, ...]
    constant: bool

    @property
    def free(self) -> tuple[int, ...]:
        used = {*self.batch, *self.contract}
        return tuple(axis for axis in range(len(self.shape)) if axis not in used)

    def sizes(self, axes: Sequence[int]) -> list[Any]:
        return [self.shape[axis] for axis in axes]

    def ordered_like(self, other: _Side) -> _Side:
        """The same with the contracted axes in another order: that in which they lie in the other operand."""
        order = sorted(range(len(self.contract)), key=lambda i: other.contract[i])
        return _Side(self.value, self.shape, self.batch, tuple(self.contract[i] for i in order), self.constant)


@plugin.lowering("dot_general")
def _dot_general(
    ctx: LoweringContext, lhs: ir.Value, rhs: ir.Value, *, dimension_numbers: _Dimensions, **_: Any
) -> ir.Value:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    wanted = ctx.avals_out[0].dtype
    dtype = _product_dtype(ctx, wanted)
    left, right = (
        _Side(ctx.cast(x, dtype), tuple(aval.shape), tuple(batch), tuple(contract), ctx.constant_value(x) is not None)
        for x, aval, batch, contract in (
            (lhs, ctx.avals_in[0], lhs_batch, lhs_contract),
            (rhs, ctx.avals_in[1], rhs_batch, rhs_contract),
        )
    )
    batch = len(lhs_batch)
    straight, swapped = _cost(left, right), _cost(right, left) + (0.5 if left.free and right.free else 0)
    if swapped < straight or (swapped == straight and left.constant and not right.constant):
        result = _product(ctx, right, left)
        first, second = len(right.free), len(left.free)
        # JAX's result has the axes of lhs first. What follows is often the transpose that undoes this one.
        perm = [*range(batch), *(batch + first + i for i in range(second)), *(batch + i for i in range(first))]
        result = ctx.op.Transpose(result, perm=perm)
    else:
        result = _product(ctx, left, right)
    if wanted == np.bool_:
        return ctx.op.Greater(result, ctx.const(0, result))  # type: ignore[no-any-return]
    return ctx.cast(result, wanted)


def _product_dtype(ctx: LoweringContext, wanted: Any) -> Any:
    """The dtype to multiply and add up in: wide enough for operands and result."""
    dtypes = [np.dtype(aval.dtype) for aval in ctx.avals_in]
    if wanted == np.bool_:
        return np.dtype(np.float32)  # counts of true pairs: positive stays positive
    if jnp.issubdtype(wanted, jnp.floating):
        floats = {dtype for dtype in (*dtypes, wanted) if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 1}
        if len(floats) == 1:
            return floats.pop()
        return np.dtype(np.float64 if np.dtype(np.float64) in floats else np.float32)
    # Integers wrap, so any width that holds the result gives its low bits.
    return wanted if wanted.itemsize >= 4 else np.dtype(np.uint32 if wanted.kind == "u" else np.int32)


def _cost(left: _Side, right: _Side) -> float:
    """How much has to be moved at run time to multiply in this order; constants are moved at export."""
    left, right = _aligned(left, right)
    cost = 0.0
    for side, last in ((left, left.contract), (right, right.free)):
        middle = side.free if side is left else side.contract
        if side.constant:
            continue
        cost += not _in_order(side, (*side.batch, *middle, *last))
    # Several free axes on the right, or on the left beside batch axes, are merged and taken apart again.
    cost += 0.3 * (len(right.free) > 1) + 0.3 * (len(left.free) > 1 and bool(left.batch))
    return cost


def _in_order(side: _Side, perm: Sequence[int]) -> bool:
    moved = [axis for axis in perm if is_symbolic_dim(side.shape[axis]) or side.shape[axis] != 1]
    return moved == sorted(moved)


def _aligned(left: _Side, right: _Side) -> tuple[_Side, _Side]:
    """The contracted axes of both in the order in which they lie in the one that is costly to move."""
    if left.constant and not right.constant:
        return left.ordered_like(right), right.ordered_like(right)
    return left.ordered_like(left), right.ordered_like(left)


def _product(ctx: LoweringContext, left: _Side, right: _Side) -> ir.Value:
    """The product with axes (batch, free axes of left, free axes of right)."""
    left, right = _aligned(left, right)
    batch, inner = left.sizes(left.batch), math.prod(left.sizes(left.contract))
    rows, columns = left.sizes(left.free), right.sizes(right.free)
    # MatMul broadcasts over leading axes and takes vectors: without batch axes all rows may stay as they are.
    rows_kept = [math.prod(rows)] if batch else rows
    columns_kept = [math.prod(columns)] if batch or columns else []
    x = ctx.op.Transpose(left.value, perm=(*left.batch, *left.free, *left.contract))
    y = ctx.op.Transpose(right.value, perm=(*right.batch, *right.contract, *right.free))
    x = ctx.reshape(x, [*batch, *rows_kept, inner])
    y = ctx.reshape(y, [*batch, inner, *columns_kept])
    return ctx.reshape(ctx.op.MatMul(x, y), [*batch, *rows, *columns])
