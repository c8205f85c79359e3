"""Unrolled scans, a copy of the body for each turn: short ones, over weights of layers, and updates in place.

ONNX Runtime packs a matrix that is constant once, when it loads the model. One that is an item of a Scan, or taken
from a stack by a counter, is copied in each turn and packed in each product. Nor does it write to the carry of a loop
in place: where a turn changes a few elements of a large one, almost all of its time is a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir
from jax import export, lax

from j2o_core import LoweringContext

from .indexing._slicing import is_set_in_place

# Equations that a scan may come to: in any case, where its turns have weights of their own, and on request.
_SHORT = 64
_WITH_WEIGHTS = 2**13
_ON_REQUEST = 2**16

# Bytes of a carry from which its copy takes longer than the nodes of a turn.
_LARGE = 2**20

_PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot")
_PARTS = ("dynamic_slice", "gather")
_READS = (*_PARTS, "slice")
_FORMS = ("convert_element_type", "copy", "reshape", "squeeze", "transpose", "broadcast_in_dim", "mul", *_PARTS)


def is_unrolled(
    ctx: LoweringContext, jaxpr: Any, length: Any, consts: Sequence[ir.Value], xs: Sequence[ir.Value]
) -> bool:
    """Whether a scan is unrolled: `to_onnx(unroll=)`, or what ONNX Runtime is faster at."""
    if export.is_symbolic_dim(length) or ctx.unroll is False:
        return False
    if length == 1 or _is_at_most(jaxpr, length, _SHORT):
        return True
    if ctx.unroll is True:
        return _is_at_most(jaxpr, length, _ON_REQUEST)
    if not _is_at_most(jaxpr, length, _WITH_WEIGHTS):
        return False
    return _has_weights_of_turns(ctx, jaxpr.jaxpr, consts, xs) or _updates_in_place(jaxpr.jaxpr, len(consts), len(xs))


def unrolled(
    ctx: LoweringContext,
    length: int,
    carry: Sequence[ir.Value],
    xs: Sequence[ir.Value],
    reverse: bool,
    body: Callable[..., Sequence[ir.Value]],
) -> Sequence[ir.Value]:
    """The final carry and the stacked results of a scan; `body(*carry, *items)` adds the nodes of a turn."""
    count = len(carry)
    turns: list[Sequence[ir.Value]] = []
    order = range(length)[::-1] if reverse else range(length)
    first = ctx.const([0], np.int64)
    for turn in order:
        outs = body(*carry, *(_item(ctx, x, turn) for x in xs))
        carry = outs[:count]
        turns.append(outs[count:])
    if reverse:
        turns.reverse()
    stacks = [ctx.op.Concat(*(ctx.op.Unsqueeze(y, first) for y in ys), axis=0) for ys in zip(*turns, strict=True)]
    return [*carry, *stacks]


def _item(ctx: LoweringContext, x: ir.Value, turn: int) -> ir.Value:
    if not ctx.is_weight(x):
        return ctx.op.Gather(x, ctx.const(turn, np.int64), axis=0)
    cut = ctx.constant_part(x, (turn,))
    if cut is not None:
        return cut
    part = ctx.op.Slice(x, *(ctx.const([place], np.int64) for place in (turn, turn + 1, 0)))
    return ctx.op.Squeeze(part, ctx.const([0], np.int64))


def _has_weights_of_turns(ctx: LoweringContext, jaxpr: Any, consts: Sequence[ir.Value], xs: Sequence[ir.Value]) -> bool:
    """Whether a turn multiplies by a constant matrix of its own: an item, or a part of what all turns read."""
    items = list(zip(jaxpr.invars[len(jaxpr.invars) - len(xs) :], xs, strict=True))
    weights = [var for var, x in items if ctx.is_weight(x) and _is_matrix(var)]
    stacks = [var for var, x in zip(jaxpr.invars, consts, strict=False) if ctx.is_weight(x)]
    for eqn in jaxpr.eqns:
        name, operands = eqn.primitive.name, eqn.invars
        if any(atom is var for atom in operands for var in weights):
            if name in _PRODUCTS:
                return True
            if name in _FORMS:
                weights += filter(_is_matrix, eqn.outvars)
        elif name in _PARTS and any(operands[0] is var for var in stacks):
            weights += filter(_is_matrix, eqn.outvars)
    return False


def _updates_in_place(jaxpr: Any, consts: int, xs: int) -> bool:
    """Whether a turn does no more with a large part of the carry than to read parts of it and to set few elements."""
    carry = jaxpr.invars[consts : len(jaxpr.invars) - xs]
    for var, out in zip(carry, jaxpr.outvars, strict=False):
        shape, dtype = var.aval.shape, var.aval.dtype
        if not all(isinstance(size, int) for size in shape) or math.prod(shape) * dtype.itemsize < _LARGE:
            continue
        readers = [eqn for eqn in jaxpr.eqns if any(atom is var for atom in eqn.invars)]
        writers = [eqn for eqn in readers if out in eqn.outvars]
        parts = all(eqn.primitive.name in _READS and eqn.invars[0] is var for eqn in readers if eqn not in writers)
        if parts and len(writers) == 1 and _sets_few(writers[0], var):
            return True
    return False


def _sets_few(eqn: Any, var: Any) -> bool:
    name = eqn.primitive.name
    if eqn.invars[0] is not var or not (name.startswith("scatter") or name == "dynamic_update_slice"):
        return False
    updates = eqn.invars[1 if name == "dynamic_update_slice" else 2].aval
    one = name == "dynamic_update_slice" or math.prod(eqn.invars[1].aval.shape[:-1]) == 1
    return one and is_set_in_place(var.aval.shape, updates.shape)


def _is_matrix(var: Any) -> bool:
    return sum(size > 1 for size in var.aval.shape if isinstance(size, int)) > 1


def _is_at_most(jaxpr: Any, length: int, most: int) -> bool:
    return _size(jaxpr) <= most // length


# Of jaxprs in use: those around one ask for it again.
_sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def _size(jaxpr: Any) -> int:
    """Equations that a jaxpr comes to, those of the jaxprs inside it too: of a scan that is unrolled, for each turn."""
    known = _sizes.get(jaxpr)
    if known is not None:
        return known
    total = len(jaxpr.jaxpr.eqns)
    for eqn in jaxpr.jaxpr.eqns:
        length = eqn.params["length"] if eqn.primitive is lax.scan_p else 1
        turns = length if isinstance(length, int) else 1
        for value in eqn.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(inner, "jaxpr"):
                    inside = _size(inner)
                    total += turns * inside if turns * inside <= _SHORT else inside
    _sizes[jaxpr] = total
    return total
