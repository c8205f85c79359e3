"""The JVP of anything that is bound whole: the primal is bound again, the tangent is that of a JAX function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from j2o_core import UnsupportedError

_NOT_DIFFERENTIABLE = """{name} has no gradient by design: its result does not change smoothly with its inputs.
Take it out of the differentiated part, or put jax.lax.stop_gradient around its inputs."""

Function = Callable[..., list[Any]]


def whole_jvp(
    name: str,
    bind: Function,
    function: Function,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    differentiable: bool,
) -> tuple[list[Any], list[Any]]:
    """The results of `bind` and the tangents of `function`, whose own results are dead code.

    Args:
        name: of the composite or primitive, for errors.
        bind: binds it: operands to a list of results.
        function: JAX code that computes the same.
        primals: the operands.
        tangents: one for each operand, `ad.Zero` where it does not change.
        differentiable: whether it has a gradient; without one, tangents are zero where JAX's are.

    Raises:
        UnsupportedError: for a tangent that is not zero by construction, if there is no gradient.
    """
    outputs = bind(*primals)
    zeros: list[Any] = [ad.Zero(jax.typeof(output).to_tangent_aval()) for output in outputs]
    changing = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]
    if not changing:
        return list(outputs), zeros

    def along(*moved: Any) -> list[Any]:
        return function(*with_operands(primals, changing, moved))

    directions = [primals[i] for i in changing], [tangents[i] for i in changing]
    moves = _moves(along, *directions)
    if not any(moves):
        return list(outputs), zeros
    if not differentiable:
        raise UnsupportedError(_NOT_DIFFERENTIABLE.format(name=name))
    _, changes = jax.jvp(along, *directions)
    return list(outputs), [new if moved else zero for new, zero, moved in zip(changes, zeros, moves, strict=True)]


def with_operands(operands: Sequence[Any], places: Sequence[int], new: Sequence[Any]) -> list[Any]:
    """The operands with others in some places."""
    changed = list(operands)
    for i, value in zip(places, new, strict=True):
        changed[i] = value
    return changed


def _moves(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> list[bool]:
    """For each result, whether JAX's tangent is more than a zero by construction, as that of `argmax` is."""
    moves: list[bool] = []

    @jax.custom_jvp
    def watch(outputs: list[Any]) -> list[Any]:
        return outputs

    @functools.partial(watch.defjvp, symbolic_zeros=True)
    def _watch(primals: Any, tangents: Any) -> Any:
        moves[:] = [not isinstance(tangent, SymbolicZero) for tangent in tangents[0]]
        return primals[0], tangents[0]

    jax.make_jaxpr(lambda p, t: jax.jvp(lambda *xs: watch(function(*xs)), p, t))(primals, tangents)
    return moves
