"""Decompose: primitives become JAX code.

That code is what a plugin says, or else what JAX itself compiles or runs the primitive by, where that is JAX code: a
library that makes a primitive of a function written in JAX (a linear solve with gradients of its own, say) needs no
plugin.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import InconclusiveDimensionOperation

from .._compat import Literal, Primitive, as_closed, compiled_code, high_level_code, literal_value, printed_name
from .._errors import J2oError, LoweringError, UnknownParameter
from ..plugin._budget import limited
from ..plugin._plugin import ENCODED
from ..plugin._registry import Registry
from ..trace._source import user_line
from ..trace._trace import trace_code
from ._calls import CALLS, IDENTITIES
from ._nested import all_jaxprs
from ._plugin_code import DECOMPOSITION, check_results, failed

Trace = Callable[..., tuple[Any, Any]]


def _plain_trace(fn: Callable[..., Any], *structs: Any) -> tuple[Any, Any]:
    return jax.make_jaxpr(fn)(*structs), None


class _Declined(Exception):
    """A decomposition leaves an equation as it is."""


class Decompositions:
    """The JAX code of primitives.

    Args:
        by_name: code by the primitive's name.
        has_rule: whether a primitive has a rule of its own, so that its implementation is not looked at.
        trace: gives the jaxpr of a function on specs, and something else.
        encoded: rules on encoded values, by kind and name.
    """

    def __init__(
        self,
        by_name: Mapping[str, Callable[..., Any]] | None = None,
        has_rule: Callable[[Primitive], bool] = lambda primitive: True,
        trace: Trace = _plain_trace,
        encoded: Mapping[str, Mapping[str, Callable[..., Any]]] | None = None,
    ):
        self.encoded = encoded or {kind: {} for kind in ENCODED}
        self._by_name = by_name or {}
        self._has_rule = has_rule
        self._trace = trace
        self._implementations: dict[Primitive, Callable[..., Any] | None] = {}

    def __contains__(self, primitive: Primitive) -> bool:
        return primitive.name in self._by_name or self._implementation(primitive) is not None

    def expand(self, eqn: Any, invars: list[Any]) -> tuple[Any, list[Any]] | None:
        """The JAX code of an equation as a body, with its arguments; None if there is none."""
        fn = self._by_name.get(eqn.primitive.name)
        if fn is not None:
            # Known operands are given as they are: some primitives hold a choice in an operand.
            known = [literal_value(atom) if isinstance(atom, Literal) else None for atom in eqn.invars]
            try:
                body = self._body(fn, eqn, known)
            except _Declined:
                return None
            except UnknownParameter as error:
                raise LoweringError(f"{error}\n  at {user_line(eqn)}") from None
            except J2oError:
                raise
            except Exception as error:
                raise failed(DECOMPOSITION, fn, eqn, error) from error
            check_results(DECOMPOSITION, fn, eqn, body.out_avals, [var.aval for var in eqn.outvars])
            return body, [operand for operand, value in zip(invars, known, strict=True) if value is None]
        fn = self._implementation(eqn.primitive)
        if fn is None:
            return None
        try:
            body = self._body(fn, eqn, [None] * len(invars))
        except InconclusiveDimensionOperation as error:
            raise failed(DECOMPOSITION, None, eqn, error) from error
        except Exception:  # noqa: BLE001 - code that cannot be traced, such as NumPy's: the primitive is then reported
            return None
        promised = [(var.aval.shape, var.aval.dtype) for var in eqn.outvars]
        if [(aval.shape, aval.dtype) for aval in body.out_avals] != promised:
            return None
        if high_level_code(eqn.primitive) is None and not self._is_covered(body):
            return None
        return body, invars

    def _is_covered(self, closed: Any) -> bool:
        """Whether there is a rule for everything in a body; else the primitive itself is reported, not its inside."""
        return all(
            self._is_known(eqn.primitive) or self.expand(eqn, list(eqn.invars)) is not None
            for body in all_jaxprs(closed)
            for eqn in body.jaxpr.eqns
        )

    def _is_known(self, primitive: Primitive) -> bool:
        name = primitive.name
        tables = (self._by_name, CALLS, IDENTITIES, *self.encoded.values())
        return hasattr(primitive, "composite") or self._has_rule(primitive) or any(name in table for table in tables)

    def _body(self, fn: Callable[..., Any], eqn: Any, known: list[Any]) -> Any:
        def flat(*arrays: Any) -> Any:
            remaining = iter(arrays)
            results = fn(*(next(remaining) if value is None else value for value in known), **eqn.params)
            if results is NotImplemented:
                raise _Declined
            return results

        def describe() -> str:
            return f"The code that stands for {printed_name(eqn)} at {user_line(eqn)}"

        rest = [atom.aval for atom, value in zip(eqn.invars, known, strict=True) if value is None]
        structs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in rest]
        with limited(describe, LoweringError):
            return as_closed(self._trace(flat, *structs)[0])

    def _implementation(self, primitive: Primitive) -> Callable[..., Any] | None:
        if primitive not in self._implementations:
            made_real = any(primitive.name in rules for rules in self.encoded.values())
            unknown = not hasattr(primitive, "composite") and not made_real and not self._has_rule(primitive)
            self._implementations[primitive] = _code(primitive) if unknown else None
        return self._implementations[primitive]


@functools.lru_cache(maxsize=8)
def decompositions_of(registry: Registry) -> Decompositions:
    """The code that the plugins of a registry have."""
    return Decompositions(
        registry.decompositions,
        lambda primitive: registry.lowest_opset(primitive) is not None,
        functools.partial(trace_code, registry),
        registry.encodings,
    )


def _code(primitive: Primitive) -> Callable[..., Any] | None:
    """The JAX code that computes a primitive, None if JAX hands it to the compiler."""
    code = high_level_code(primitive) or compiled_code(primitive)
    if code is not None:
        return code
    function: Any = primitive.impl
    while isinstance(function, functools.partial):
        function = function.func
    library = (getattr(function, "__module__", None) or "jax").partition(".")[0]
    return primitive.impl if library not in ("jax", "jaxlib") else None
