"""dot_general as MatMul: the activation on the left, the weight on the right, as few transposes as it takes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax.export import is_symbolic_dim

from j2o_core import LoweringContext

from ._plugin import plugin

# Numbers added up from which MatMulInteger is faster, and the zero of int8 among unsigned bytes.
_BYTES = 16
_ZERO = 128

_Dimensions = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True)
class _Side:
    """One operand of the product and what its axes are for."""

    value: ir.Value
    shape: tuple[Any, ...]
    batch: tuple[int, ...]
    contract: tuple[int, ...]
    constant: bool

    @functools.cached_property
    def free(self) -> tuple[int, ...]:
        used = {*self.batch, *self.contract}
        return tuple(axis for axis in range(len(self.shape)) if axis not in used)

    def sizes(self, axes: Sequence[int]) -> list[Any]:
        return [self.shape[axis] for axis in axes]

    def contracted_like(self, other: _Side) -> _Side:
        """The same with the contracted axes in another order: that in which they lie in the other operand."""
        if len(self.contract) < 2:
            return self
        order = sorted(range(len(self.contract)), key=lambda i: other.contract[i])
        return replace(self, contract=tuple(self.contract[i] for i in order))


@dataclass(frozen=True)
class _Form:
    """A way to write the product: MatMul(left, right), in which JAX's lhs may be on the right (`swapped`).

    The free axes of `right` in front of the contracted ones may stay there (`kept` of them): MatMul broadcasts `left`
    over them. The result then has the axes (batch, kept, free axes of left, other free axes of right).
    """

    left: _Side
    right: _Side
    swapped: bool
    kept: int = 0

    @property
    def left_perm(self) -> tuple[int, ...]:
        return (*self.left.batch, *self.left.free, *self.left.contract)

    @property
    def right_perm(self) -> tuple[int, ...]:
        free = self.right.free
        return (*self.right.batch, *free[: self.kept], *self.right.contract, *free[self.kept :])

    @property
    def result_sizes(self) -> list[Any]:
        left, right = self.left, self.right
        front, back = right.free[: self.kept], right.free[self.kept :]
        return left.sizes(left.batch) + right.sizes(front) + left.sizes(left.free) + right.sizes(back)

    @property
    def result_perm(self) -> list[int]:
        """Where the axes of JAX's result (batch, free axes of lhs, free axes of rhs) are."""
        batch, rows, columns = len(self.left.batch), len(self.left.free), len(self.right.free)
        axes = list(range(batch + rows + columns))
        left = axes[batch + self.kept : batch + self.kept + rows]
        right = axes[batch : batch + self.kept] + axes[batch + self.kept + rows :]
        return axes[:batch] + (right + left if self.swapped else left + right)

    @property
    def cost(self) -> float:
        """How many arrays have to be moved at run time; constants are moved at export."""
        left, right = self.left, self.right
        cost = 0.0
        if not left.constant:
            cost += _moves(self.left_perm, left.shape) + 0.3 * (len(left.free) > 1 and bool(left.batch or self.kept))
        if not right.constant:
            # Several free axes on the right are merged, and split again in the result. That is cheap unless
            # a symbolic axis, mostly the first one, is among them.
            merging = 0.2 if self.kept else 0.6
            cost += _moves(self.right_perm, right.shape) + merging * (len(right.free) - self.kept > 1)
        # A transpose of the result often meets JAX's own one, and the two cancel.
        cost += 0.5 * _moves(self.result_perm, self.result_sizes)
        return cost + 0.1 * (left.constant and not right.constant)


def _moves(perm: Sequence[int], shape: Sequence[Any]) -> bool:
    """Whether a transpose moves any axis but those of size 1."""
    moved = [axis for axis in perm if is_symbolic_dim(shape[axis]) or shape[axis] != 1]
    return moved != sorted(moved)


@plugin.lowering("dot_general", ignores=("out_sharding", "precision", "preferred_element_type"))
def _dot_general(ctx: LoweringContext, lhs: ir.Value, rhs: ir.Value, *, dimension_numbers: _Dimensions) -> ir.Value:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    wanted = ctx.avals_out[0].dtype
    in_bytes = _is_of_bytes(ctx, wanted, [ctx.avals_in[0].shape[axis] for axis in lhs_contract])
    dtype = _product_dtype(ctx, wanted)
    sides = [
        _Side(
            _unsigned_bytes(ctx, x) if in_bytes else ctx.cast(x, dtype),
            tuple(aval.shape),
            tuple(batch),
            tuple(contract),
            ctx.is_weight(x),
        )
        for x, aval, batch, contract in (
            (lhs, ctx.avals_in[0], lhs_batch, lhs_contract),
            (rhs, ctx.avals_in[1], rhs_batch, rhs_contract),
        )
    ]
    zeros = [ctx.const(_ZERO if aval.dtype == np.int8 else 0, np.uint8) for aval in ctx.avals_in] if in_bytes else ()
    result = _scaled(ctx, *sides) or _product(ctx, min(_forms(*sides), key=lambda form: form.cost), zeros)
    if wanted == np.bool_:
        return ctx.op.Greater(result, ctx.const(0, result))
    return ctx.cast(result, wanted)


def _is_of_bytes(ctx: LoweringContext, wanted: Any, inner: Sequence[Any]) -> bool:
    """Whether a product of 8-bit integers is added up in 32 bits, or in fewer of them that wrap."""
    if any(map(is_symbolic_dim, inner)) or math.prod(inner) < _BYTES:
        return False
    is_narrow = jnp.issubdtype(wanted, jnp.integer) and wanted.itemsize <= 4
    return is_narrow and all(aval.dtype in (np.int8, np.uint8) for aval in ctx.avals_in)


def _unsigned_bytes(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """8-bit integers as uint8 with a zero of 128.

    Products of uint8 are exact with every kernel; those of uint8 and int8 saturate at 16 bits on older processors, and
    of int8 alone they take four times as long.
    """
    if ctx.dtype(x) == np.uint8:
        return x
    if ctx.constant_value(x) is not None:
        return ctx.op.constants.derived(x, "unsigned", lambda array: array.view(np.uint8) + np.uint8(_ZERO))
    return ctx.op.Add(ctx.cast(x, np.uint8), ctx.const(_ZERO, np.uint8))


def _scaled(ctx: LoweringContext, lhs: _Side, rhs: _Side) -> ir.Value | None:
    """The elementwise product, where nothing is summed and an operand has batch axes only: `...hqk,h->...hqk`."""
    for x, scale in ((lhs, rhs), (rhs, lhs)):
        if not x.contract and not scale.free:
            moved = ctx.op.Transpose(x.value, perm=(*x.batch, *x.free))
            factor = ctx.op.Transpose(scale.value, perm=scale.batch)
            return ctx.op.Mul(moved, ctx.reshape(factor, scale.sizes(scale.batch) + [1] * len(x.free)))
    return None


def _forms(lhs: _Side, rhs: _Side) -> Iterator[_Form]:
    for left, right, swapped in ((lhs, rhs, False), (rhs, lhs, True)):
        # The contracted axes come in the order of the operand that is costly to move.
        guide = right if left.constant and not right.constant else left
        yield _Form(left.contracted_like(guide), right.contracted_like(guide), swapped)
        kept = sum(axis < min(right.contract, default=0) for axis in right.free)
        if 0 < kept < len(right.free) and not left.batch:
            yield _Form(left.contracted_like(right), right.contracted_like(right), swapped, kept)


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
    if wanted.itemsize >= 4:
        return wanted
    return np.dtype(np.uint32 if jnp.issubdtype(wanted, jnp.unsignedinteger) else np.int32)


def _product(ctx: LoweringContext, form: _Form, zeros: Sequence[ir.Value]) -> ir.Value:
    left, right = form.left, form.right
    batch, inner = left.sizes(left.batch), math.prod(left.sizes(left.contract))
    rows, columns = left.sizes(left.free), right.sizes(right.free)
    front, columns = columns[: form.kept], columns[form.kept :]
    # MatMul broadcasts over leading axes and takes vectors: without other batch axes all rows may stay as they are.
    rows_kept = [math.prod(rows)] if batch or front else rows
    columns_kept = [math.prod(columns)] if batch or columns else []
    x = ctx.reshape(ctx.op.Transpose(left.value, perm=form.left_perm), [*batch, *rows_kept, inner])
    y = ctx.reshape(ctx.op.Transpose(right.value, perm=form.right_perm), [*batch, *front, inner, *columns_kept])
    zeros = zeros[::-1] if form.swapped else zeros
    product = ctx.op.MatMulInteger(x, y, *zeros) if zeros else ctx.op.MatMul(x, y)
    result = ctx.reshape(product, form.result_sizes)
    return ctx.op.Transpose(result, perm=form.result_perm)
