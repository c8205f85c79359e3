"""Control flow: cond becomes If, while becomes Loop, scan becomes Scan or Loop. Bodies read outer values in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
from jax import export, lax
from jax.extend.core import Literal

from j2o_core import LoweringContext
from j2o_core._compat import scan_counts

from ._early_exit import condition_and_step
from ._empty_sequences import unless_empty
from ._plugin import plugin
from ._shapes import flip
from ._unrolling import is_unrolled, unrolled


@plugin.lowering(lax.cond_p, ignores=("branches_platforms",))
def _cond(ctx: LoweringContext, index: ir.Value, *operands: ir.Value, branches: Sequence[Any]) -> Sequence[ir.Value]:
    known = ctx.constant_value(index)
    if known is not None:
        return ctx.lower_jaxpr(branches[int(np.clip(int(known), 0, len(branches) - 1))], *operands)
    return _branch(ctx, index, operands, branches, ctx.avals_out)


def _branch(
    ctx: LoweringContext, index: ir.Value, operands: Sequence[ir.Value], branches: Sequence[Any], avals: Sequence[Any]
) -> Sequence[ir.Value]:
    """One of the branches; an index outside takes the nearest."""
    if len(branches) == 1:
        return ctx.lower_jaxpr(branches[0], *operands)
    if not avals:
        return ()
    middle = len(branches) // 2
    is_pair = len(branches) == 2
    condition = ctx.cast(index, np.bool_) if is_pair else ctx.op.Greater(index, ctx.const(middle - 1, index))

    def half(part: Sequence[Any], first: int, name: str) -> ir.Graph:
        def build(inner: LoweringContext) -> Sequence[ir.Value]:
            inside = index if len(part) == 1 else inner.op.Sub(index, inner.const(first, index))
            return _branch(inner, inside, operands, part, avals)

        return ctx.subgraph(None, (), build, name, avals)

    results = ctx.op.If(
        condition,
        then_branch=half(branches[middle:], middle, "then"),
        else_branch=half(branches[:middle], 0, "else"),
        outputs=len(avals),
    )
    return _as_tuple(results)


@plugin.lowering(lax.while_p)
def _while(
    ctx: LoweringContext,
    *operands: ir.Value,
    cond_jaxpr: Any,
    body_jaxpr: Any,
    cond_nconsts: int,
    body_nconsts: int,
) -> Sequence[ir.Value]:
    cond_consts = operands[:cond_nconsts]
    body_consts = operands[cond_nconsts : cond_nconsts + body_nconsts]
    carry = operands[cond_nconsts + body_nconsts :]

    batch = cond_jaxpr.jaxpr.outvars[0].aval.shape
    is_single = all(isinstance(size, int) and size == 1 for size in batch)

    def going(ctx: LoweringContext, carry: Sequence[ir.Value]) -> ir.Value:
        (flags,) = ctx.lower_jaxpr(cond_jaxpr, *cond_consts, *carry)
        return ctx.reshape(flags, ()) if is_single else flags

    def step(ctx: LoweringContext, carry: Sequence[ir.Value]) -> Sequence[ir.Value]:
        return ctx.lower_jaxpr(body_jaxpr, *body_consts, *carry)

    if is_single:  # the only element goes on as long as the loop does
        return _loop_while(ctx, None, going, step, carry)

    # Under vmap each element has a condition of its own: it stays as it is once that is false.
    ranks = [len(aval.shape) for aval in ctx.avals_out]

    def masked(
        inner: LoweringContext, _count: ir.Value, _go: ir.Value, still: ir.Value, *carry: ir.Value
    ) -> Sequence[ir.Value]:
        carry = tuple(
            inner.op.Where(inner.op.Unsqueeze(still, inner.const(range(len(batch), rank), np.int64)), new, old)
            for new, old, rank in zip(step(inner, carry), carry, ranks, strict=True)
        )
        still = going(inner, carry)
        return [_any(inner, still, len(batch)), still, *carry]

    inputs = [(np.int64, ()), (np.bool_, ()), (np.bool_, batch), *ctx.avals_out]
    graph = ctx.subgraph(None, inputs, masked)
    first = going(ctx, carry)
    results = ctx.op.Loop(None, _any(ctx, first, len(batch)), first, *carry, body=graph, outputs=1 + len(carry))
    return _as_tuple(results)[1:]


def _loop_while(
    ctx: LoweringContext,
    limit: ir.Value | None,
    going: Callable[[LoweringContext, Sequence[ir.Value]], ir.Value],
    step: Callable[[LoweringContext, Sequence[ir.Value]], Sequence[ir.Value]],
    carry: Sequence[ir.Value],
) -> Sequence[ir.Value]:
    """A Loop that ends when the carry says so, or after `limit` turns."""

    def body(inner: LoweringContext, _count: ir.Value, _going: ir.Value, *carry: ir.Value) -> Sequence[ir.Value]:
        carry = tuple(step(inner, carry))
        return [going(inner, carry), *carry]

    first = going(ctx, carry)
    graph = ctx.subgraph(None, [(np.int64, ()), (np.bool_, ()), *ctx.avals_out], body)
    return _as_tuple(ctx.op.Loop(limit, first, *carry, body=graph, outputs=len(carry)))


def _any(ctx: LoweringContext, going: ir.Value, rank: int) -> ir.Value:
    result: ir.Value = ctx.lower_fun(lambda flags: lax.reduce_or(flags, range(rank)), going)
    return result


@plugin.lowering(lax.scan_p, ignores=("ft_in", "ft_out", "num_carry", "num_consts", "unroll"))
def _scan(ctx: LoweringContext, *operands: ir.Value, jaxpr: Any, length: Any, reverse: bool) -> Sequence[ir.Value]:
    first, count = scan_counts(ctx.params, len(operands))
    consts, init, xs = operands[:first], operands[first : first + count], operands[first + count :]
    body_outs = [atom.aval for atom in jaxpr.jaxpr.outvars]
    static = not export.is_symbolic_dim(length)

    def empty(inner: LoweringContext) -> Sequence[ir.Value]:
        return [*init, *(inner.expand(inner.const(0, y.dtype), y.shape) for y in ctx.avals_out[len(init) :])]

    if static and length == 0:
        return empty(ctx)
    if is_unrolled(ctx, jaxpr, length, consts, xs):
        return unrolled(ctx, length, init, xs, reverse, functools.partial(ctx.lower_jaxpr, jaxpr, *consts))
    bounds = _bounds(ctx, jaxpr.jaxpr, first, init, xs, length)
    if not xs:
        return _counted(ctx, jaxpr, consts, init, body_outs, length, reverse, bounds)

    def full(inner: LoweringContext) -> Sequence[ir.Value]:
        return _over(inner, jaxpr, consts, init, xs, reverse, bounds)

    return unless_empty(ctx, length, ctx.avals_out, full, empty)


_Bounds = dict[int, tuple[int, int]]


def _bounds(
    ctx: LoweringContext, jaxpr: Any, first: int, init: Sequence[ir.Value], xs: Sequence[ir.Value], length: Any
) -> _Bounds:
    """The least and the largest integer of a carry that counts and of known items, by their place in the body."""
    bounds: _Bounds = {}
    for place, value in enumerate(init if not export.is_symbolic_dim(length) else ()):
        start = ctx.constant_value(value)
        if start is None or not start.size or not jnp.issubdtype(start.dtype, jnp.integer):
            continue
        step = _step(jaxpr, jaxpr.invars[first + place], jaxpr.outvars[place])
        if step is None:
            continue
        last = step * (length - 1)
        low, high, limits = int(start.min()) + min(last, 0), int(start.max()) + max(last, 0), jnp.iinfo(start.dtype)
        if limits.min <= low and high <= limits.max:
            bounds[place] = low, high
    for place, value in enumerate(xs, len(init)):
        known = ctx.range(value) if np.issubdtype(ctx.dtype(value), np.integer) else None
        if known is not None:
            bounds[place] = int(known.low), int(known.high)
    return bounds


def _step(jaxpr: Any, var: Any, out: Any) -> int | None:
    """The constant integer that a turn adds to a carry."""
    for eqn in jaxpr.eqns:
        if out in eqn.outvars and eqn.primitive in _STEPS:
            added = [atom.val for atom in eqn.invars if isinstance(atom, Literal)]
            if len(added) == 1 and np.ndim(added[0]) == 0 and eqn.invars[_STEPS[eqn.primitive](eqn.invars)] is var:
                return int(added[0]) if eqn.primitive is lax.add_p else -int(added[0])
    return None


# Where the operand is that is counted up or down.
_STEPS: dict[Any, Callable[[Sequence[Any]], int]] = {
    lax.add_p: lambda atoms: int(isinstance(atoms[0], Literal)),
    lax.sub_p: lambda _: 0,
}


def _bound(ctx: LoweringContext, values: Sequence[ir.Value], bounds: _Bounds) -> None:
    for place, (low, high) in bounds.items():
        ctx.bound(values[place], low, high)


def _over(
    ctx: LoweringContext,
    jaxpr: Any,
    consts: Sequence[ir.Value],
    init: Sequence[ir.Value],
    xs: Sequence[ir.Value],
    reverse: bool,
    bounds: _Bounds,
) -> Sequence[ir.Value]:
    """Scan-16 over sequences of one element at least."""
    body_outs = [atom.aval for atom in jaxpr.jaxpr.outvars]

    def body(inner: LoweringContext, *values: ir.Value) -> Sequence[ir.Value]:
        _bound(inner, values, bounds)
        return inner.lower_jaxpr(jaxpr, *consts, *values)

    body_ins = [var.aval for var in jaxpr.jaxpr.invars[len(consts) :]]
    graph = ctx.subgraph(None, body_ins, body)
    ys_count = len(body_outs) - len(init)
    results = ctx.op.Scan(
        *init,
        *xs,
        body=graph,
        num_scan_inputs=len(xs),
        scan_input_directions=[int(reverse)] * len(xs) if reverse else None,
        scan_output_directions=[int(reverse)] * ys_count if reverse and ys_count else None,
        outputs=len(body_outs),
    )
    return _as_tuple(results)


def _counted(
    ctx: LoweringContext,
    jaxpr: Any,
    consts: Sequence[ir.Value],
    init: Sequence[ir.Value],
    avals: Sequence[Any],
    length: Any,
    reverse: bool,
    bounds: _Bounds,
) -> Sequence[ir.Value]:
    """A scan over nothing, which ONNX's Scan cannot be: a Loop that counts and stacks what each turn gives."""
    early = condition_and_step(jaxpr, len(consts)) if len(avals) == len(init) else None
    if early is not None:
        condition, step = early

        def going(ctx: LoweringContext, carry: Sequence[ir.Value]) -> ir.Value:
            (index,) = ctx.lower_jaxpr(condition, *consts, *carry)
            return ctx.op.Greater(index, ctx.const(0, index))

        return _loop_while(
            ctx, ctx.dim(length), going, lambda inner, carry: inner.lower_jaxpr(step, *consts, *carry), init
        )

    def body(inner: LoweringContext, _count: ir.Value, condition: ir.Value, *carry: ir.Value) -> Sequence[ir.Value]:
        _bound(inner, carry, bounds)
        return [condition, *inner.lower_jaxpr(jaxpr, *consts, *carry)]

    inputs = [(np.int64, ()), (np.bool_, ()), *avals[: len(init)]]
    graph = ctx.subgraph(None, inputs, body)
    # Without a condition, which ONNX allows, ONNX's reference implementation takes no turn.
    results = _as_tuple(ctx.op.Loop(ctx.dim(length), ctx.const(True), *init, body=graph, outputs=len(avals)))
    carry, stacked = results[: len(init)], results[len(init) :]
    if reverse:
        stacked = tuple(flip(ctx, y, dimensions=[0]) for y in stacked)
    return [*carry, *stacked]


def _as_tuple(values: Any) -> tuple[ir.Value, ...]:
    return values if isinstance(values, tuple) else (values,)
