"""Inline every call that means no more than its body: jit, custom derivatives, remat, closed calls."""

from typing import Any

import jax

from .._compat import Literal, as_closed, called_from, is_jaxpr, make_closed, new_var
from .._errors import UnsupportedError
from ..trace._source import user_line
from ._calls import BODIES, CALLS, IDENTITIES
from ._decompose import Decompositions
from ._function_primitive import function_p
from ._nested import Steps, all_jaxprs, complete, map_nested, may_hold_jaxprs

_MANY_DEVICES = """shard_map at {line} spreads its work over {count} devices, and a graph runs on one.
Give it a mesh of one device (pmap: a leading axis of size 1), or export the function that it maps."""


def inline_calls(jaxpr: Any, stopped: set[Any] | None = None, functions: Any = None) -> Any:
    """The same closed jaxpr without calls and without equations that only pass a value on.

    Args:
        jaxpr: a closed jaxpr.
        stopped: if given, a constant behind `stop_gradient` is a second constant of the same array, whose variable is
            added to it.
        functions: the `FunctionCalls` that knows which calls stay equations.
    """
    return complete(_inlined(jaxpr, _NOTHING, stopped, functions))


def decompose(jaxpr: Any, decompositions: Decompositions) -> Any:
    """The same closed jaxpr with the JAX code of some primitives in their place; itself if it has none of them."""
    return complete(_inlined(jaxpr, decompositions)) if _has_any(jaxpr, decompositions) else jaxpr


_NOTHING = Decompositions()


def _inlined(
    jaxpr: Any, decompositions: Decompositions, stopped: set[Any] | None = None, functions: Any = None
) -> Steps:
    inliner = _Inliner(decompositions, stopped, functions)
    env = dict(zip(jaxpr.jaxpr.invars, jaxpr.jaxpr.invars, strict=True))
    outs = yield inliner.run(jaxpr, env)
    constvars = list(inliner.consts)
    return make_closed(constvars, list(inliner.consts.values()), jaxpr.jaxpr.invars, outs, inliner.eqns)


def _has_any(jaxpr: Any, decompositions: Decompositions) -> bool:
    return any(eqn.primitive in decompositions for body in all_jaxprs(jaxpr) for eqn in body.jaxpr.eqns)


class _Inliner:
    def __init__(self, decompositions: Decompositions, stopped: set[Any] | None = None, functions: Any = None) -> None:
        self._decompositions = decompositions
        self._functions = functions
        self._stopped = stopped
        self._behind_stop: dict[Any, Any] = {}
        self.eqns: list[Any] = []
        self.consts: dict[Any, Any] = {}
        self._by_identity: dict[int, Any] = {}

    def constant(self, value: Any, aval: Any = None) -> Any:
        """One variable per constant array, wherever it is used."""
        known = self._by_identity.get(id(value))
        if known is None:
            known = self._by_identity[id(value)] = new_var(jax.typeof(value) if aval is None else aval)
            self.consts[known] = value
        return known

    def behind_stop(self, var: Any) -> Any:
        """The variable behind `stop_gradient` of a constant."""
        if self._stopped is None or var not in self.consts or var in self._stopped:
            return var
        if var not in self._behind_stop:
            other = self._behind_stop[var] = new_var(var.aval)
            self.consts[other] = self.consts[var]
            self._stopped.add(other)
        return self._behind_stop[var]

    def run(self, closed: Any, env: dict[Any, Any], caller: Any = None) -> Steps:
        """Append the equations of a jaxpr, in the scopes of their caller."""
        for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            env[var] = self.constant(value, var.aval)

        def read(atom: Any) -> Any:
            return atom if isinstance(atom, Literal) else env[atom]

        for eqn in closed.jaxpr.eqns:
            invars = [read(atom) for atom in eqn.invars]
            name = eqn.primitive.name
            if name in IDENTITIES and len(invars) == len(eqn.outvars):
                if name == "stop_gradient":
                    invars = [atom if isinstance(atom, Literal) else self.behind_stop(atom) for atom in invars]
                env.update(zip(eqn.outvars, invars, strict=True))
                continue
            if caller is not None:
                eqn = called_from(eqn, caller)
            function = self._functions.convert(eqn) if self._functions is not None and name in CALLS else None
            if function is not None:
                eqn = eqn.replace(primitive=function_p, params=function.params)
                invars += [self.constant(value) for value in function.weights]
            call = None if function is not None else _called(eqn, invars, self._decompositions)
            if call is not None:
                body, arguments = call
                inner = dict(zip(body.jaxpr.invars, arguments, strict=True))
                env.update(zip(eqn.outvars, (yield self.run(body, inner, eqn)), strict=True))
                continue
            outvars = [new_var(var.aval) for var in eqn.outvars]
            env.update(zip(eqn.outvars, outvars, strict=True))
            params = (yield from map_nested(eqn, self._nested)) if may_hold_jaxprs(eqn) else eqn.params
            self.eqns.append(eqn.replace(invars=invars, outvars=outvars, params=params))
        return [read(atom) for atom in closed.jaxpr.outvars]

    def _nested(self, body: Any) -> Steps:
        return _inlined(body, self._decompositions, None, self._functions)


def _called(eqn: Any, invars: list[Any], decompositions: Decompositions) -> tuple[Any, list[Any]] | None:
    """The body of a call, with its arguments; None if the equation is no call."""
    params = eqn.params
    if eqn.primitive.name in CALLS:
        for body in BODIES:
            if is_jaxpr(params.get(body)):
                return as_closed(params[body]), invars
    if eqn.primitive.name == "cond" and params.get("branches_platforms") is not None:
        # `lax.platform_dependent`: graphs are compared with JAX on the CPU.
        return as_closed(params["branches"][_cpu_index(params["branches_platforms"])]), invars[1:]
    if eqn.primitive.name == "shard_map":
        if params["mesh"].size > 1:
            raise UnsupportedError(_MANY_DEVICES.format(line=user_line(eqn), count=params["mesh"].size))
        return as_closed(params["jaxpr"]), invars
    if eqn.primitive.name == "custom_linear_solve":
        counts, jaxprs = params["const_lengths"], params["jaxprs"]
        first = counts.matvec + counts.vecmat
        arguments = invars[first : first + counts.solve] + invars[sum(counts) :]
        return as_closed(jaxprs.solve), arguments
    return decompositions.expand(eqn, invars)


def _cpu_index(platforms: Any) -> int:
    """Which entry is for the CPU; None in place of names is the default."""
    for index, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return index
    raise UnsupportedError(
        f"lax.platform_dependent has branches for {platforms} only. Give it a branch for 'cpu' or a default."
    )
