"""Drop equations whose results have no use, and constants without a use."""

from typing import Any

from .._compat import Literal, has_lasting_effect, make_closed
from .._errors import warn
from ..trace._source import user_line
from ._nested import Steps, complete, is_same, may_hold_jaxprs, with_nested

_PRINTS = """{name} at {line} is not part of the graph: ONNX can neither print nor call Python.
No value of the result depends on it."""


def drop_dead_code(jaxpr: Any) -> Any:
    """The closed jaxpr without dead equations. Inputs and outputs stay as they are."""
    return complete(_without_dead_code(jaxpr))


def _without_dead_code(jaxpr: Any) -> Steps:
    live = {atom for atom in jaxpr.jaxpr.outvars if not isinstance(atom, Literal)}
    eqns = []
    for eqn in reversed(jaxpr.jaxpr.eqns):
        if live.isdisjoint(eqn.outvars) and not _has_effect(eqn):
            if eqn.effects and not eqn.outvars:
                warn(_PRINTS.format(name=eqn.primitive.name, line=user_line(eqn)))
            continue
        live.update([atom for atom in eqn.invars if not isinstance(atom, Literal)])
        eqns.append((yield from with_nested(eqn, _without_dead_code)) if may_hold_jaxprs(eqn) else eqn)
    eqns.reverse()
    if is_same(jaxpr, eqns) and live.issuperset(jaxpr.jaxpr.constvars):
        return jaxpr
    consts = {var: value for var, value in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True) if var in live}
    return make_closed(list(consts), list(consts.values()), jaxpr.jaxpr.invars, jaxpr.jaxpr.outvars, eqns)


def _has_effect(eqn: Any) -> bool:
    return has_lasting_effect(eqn) and not hasattr(eqn.primitive, "composite")
