"""Rules derived from a composite's body: approach A falls back to the body, approach B binds the composite again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jax.interpreters import ad, batching

from j2o_core import Composite

from ._tangents import whole_jvp


def derive_rules(composite: Composite) -> None:
    """Give a composite its JVP and batching rules. Transposition needs none: tangents are the body's own."""
    if composite.transforms_ready:
        return
    ad.primitive_jvps[composite.primitive] = functools.partial(_jvp, composite)
    batching.primitive_batchers[composite.primitive] = functools.partial(_batch, composite)
    composite.transforms_ready = True


def _jvp(
    composite: Composite, primals: Sequence[Any], tangents: Sequence[Any], *, body: Any, call: Any
) -> tuple[list[Any], list[Any]]:
    """The primal stays the composite; the tangent is the body's."""
    bind = functools.partial(composite.primitive.bind, body=body, call=call)
    return whole_jvp(
        composite.name, bind, jaxpr_as_fun(body), primals, tangents, differentiable=composite.differentiable
    )


def _batch(
    composite: Composite, operands: Sequence[Any], axes: Sequence[Any], *, body: Any, call: Any
) -> tuple[list[Any], list[int]]:
    """Approach A maps the body. Approach B binds again, with one more leading axis on operands and results."""
    in_axes = list(axes)  # None for operands that are not mapped
    if composite.batching == "body":
        mapped = list(jax.vmap(jaxpr_as_fun(body), in_axes=in_axes)(*operands))
        return mapped, [0] * len(mapped)
    size = next(x.shape[axis] for x, axis in zip(operands, in_axes, strict=True) if axis is not None)
    before = call.batched or (False,) * len(operands)
    inner = next((x.shape[: call.batch_ndim] for x, old in zip(operands, before, strict=True) if old), ())
    if inner:  # an operand mapped now and before has its new axis somewhere among the old ones
        position = before.index(True)
        shape = list(operands[position].shape)
        mapped_axis = in_axes[position]
        if mapped_axis is not None:
            del shape[mapped_axis]
        inner = tuple(shape[: call.batch_ndim])
    aligned, batched = [], []
    for x, axis, old in zip(operands, in_axes, before, strict=True):
        if axis is not None:
            x = jnp.moveaxis(x, axis, 0)
            if not old:  # it gets the axes that inner maps gave the others
                x = jnp.expand_dims(x, tuple(range(1, 1 + len(inner))))
                x = jnp.broadcast_to(x, (size, *inner, *x.shape[1 + len(inner) :]))
        elif old:
            x = jnp.broadcast_to(x, (size, *x.shape))
        aligned.append(x)
        batched.append(axis is not None or old)
    base = call.base if call.base is not None else body
    again = dataclasses.replace(call, batch_ndim=call.batch_ndim + 1, batched=tuple(batched), base=base)
    mapped_body = _mapped(base, again, aligned)
    outputs = list(composite.primitive.bind(*aligned, body=mapped_body, call=again))
    return outputs, [0] * len(outputs)


def _mapped(base: Any, call: Any, operands: Sequence[Any]) -> Any:
    """The body mapped over all batch axes at once."""
    function = jaxpr_as_fun(base)
    in_axes = tuple(0 if batched else None for batched in call.batched)
    for _ in range(call.batch_ndim):
        function = jax.vmap(function, in_axes=in_axes)
    return jax.make_jaxpr(function)(*operands)
