"""Composites: functions that stay one equation while tracing. Their body, the original function, defines them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.interpreters import mlir

from .._compat import Primitive, Tracer, is_array, make_closed


@dataclass(frozen=True, eq=False)
class Call:
    """How a composite was called: its signature with holes where the arrays were.

    Under `vmap` a bound composite has `batch_ndim` extra leading axes on the operands marked in `batched`, and on
    all results; the body is mapped over them.
    """

    treedef: Any
    static: dict[int, Any]
    leaves: int
    batch_ndim: int = 0
    batched: tuple[bool, ...] = ()
    base: Any = None  # the body before any mapping

    def arguments(self, operands: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments with `operands` in place of its arrays."""
        rest = iter(operands)
        leaves = [self.static[i] if i in self.static else next(rest) for i in range(self.leaves)]
        args, kwargs = jax.tree.unflatten(self.treedef, leaves)
        return args, kwargs

    def __repr__(self) -> str:
        return f"Call(batch_ndim={self.batch_ndim})"


class Composite:
    """A function kept as one equation: a JAX primitive whose body is the original function.

    Attributes:
        target: dotted path of the function.
        primitive: its primitive in a jaxpr, with parameters `call` (a `Call`) and `body` (a jaxpr).
        batching: `"bind"` or `"body"`, what `vmap` does with it.
        differentiable: whether it has gradients.
    """

    def __init__(self, target: str, *, batching: str = "bind", differentiable: bool = True):
        self.target = target
        self.batching = batching
        self.differentiable = differentiable
        self.transforms_ready = False
        self.primitive = Primitive(target)
        self.primitive.multiple_results = True
        setattr(self.primitive, "composite", self)  # noqa: B010 - no field of a Primitive: lets the lowering loop find its way back
        self.primitive.def_abstract_eval(lambda *_, body, call: list(body.out_avals))
        self.primitive.def_impl(_run_body)
        mlir.register_lowering(self.primitive, mlir.lower_fun(_run_body, multiple_results=True))
        # A body may hold primitives of JAX 0.12 that are code of others: run by itself, it does without them.
        setattr(self.primitive, "to_lojax", _run_body)  # noqa: B010 - JAX 0.10 has no such method

    def __repr__(self) -> str:
        return f"Composite({self.target!r})"

    @property
    def name(self) -> str:
        """The target's path, which is also the primitive's name."""
        return self.target

    def locate(self) -> tuple[Any, str] | None:
        """The object that holds the function and the attribute's name, or None if its module is not imported."""
        *path, attribute = self.target.split(".")
        for split in range(len(path), 0, -1):
            owner: Any = sys.modules.get(".".join(path[:split]))
            if owner is None:
                continue
            for step in path[split:]:
                owner = getattr(owner, step, None)
            return None if owner is None or attribute not in vars(owner) else (owner, attribute)
        return None

    def bind(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `function` as one equation."""
        args, kwargs = _normalise(function, args, kwargs)
        leaves, treedef = jax.tree.flatten((args, kwargs))
        static = {i: leaf for i, leaf in enumerate(leaves) if not is_array(leaf)}
        arrays = [leaf for i, leaf in enumerate(leaves) if i not in static]
        if not any(isinstance(array, Tracer) for array in arrays):
            return function(*args, **kwargs)  # a constant: nothing to keep whole
        call = Call(treedef, static, len(leaves))
        returned: list[Any] = []

        def flat(*operands: Any) -> Any:
            body_args, body_kwargs = call.arguments(operands)
            returned[:] = jax.tree.flatten(function(*body_args, **body_kwargs))
            return [leaf for leaf in returned[0] if is_array(leaf)]

        body = jax.make_jaxpr(flat)(*arrays)
        results, out_treedef = returned
        # A closure inside an argument may hold traced values: they become operands behind the arguments.
        body, captured = _consts_as_operands(body)
        outputs = iter(self.primitive.bind(*arrays, *captured, body=body, call=call))
        # A leaf that is no array, such as an activation in a module, is returned as it is.
        return jax.tree.unflatten(out_treedef, [next(outputs) if is_array(leaf) else leaf for leaf in results])


def _run_body(*operands: Any, body: Any, call: Call) -> list[Any]:
    del call
    return jax.extend.core.jaxpr_as_fun(body)(*operands)  # type: ignore[no-any-return]


def _normalise(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with defaults filled in, so that a rule sees one form however it was spelled."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs  # the call itself will say what is wrong
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _consts_as_operands(body: Any) -> tuple[Any, list[Any]]:
    jaxpr, consts = body.jaxpr, list(body.consts)
    if not consts:
        return body, []
    return make_closed([], [], [*jaxpr.invars, *jaxpr.constvars], jaxpr.outvars, jaxpr.eqns), consts
