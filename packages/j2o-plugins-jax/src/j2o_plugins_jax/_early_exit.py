"""Scans whose turns do nothing once a condition fails: `cond(p(carry), step, lambda carry: carry, carry)` in each turn.

A condition on the carry alone that has failed fails for ever, so the loop may end there. Solvers are written so to be
differentiable, and take few of the turns that they may.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import Literal

from j2o_core._compat import literal_value, make_closed


def condition_and_step(jaxpr: Any, consts: int) -> tuple[Any, Any] | None:
    """Closed jaxprs (consts, carry) -> number above 0 to go on, and (consts, carry) -> carry; None for other bodies.

    Args:
        jaxpr: the closed jaxpr of a scan's body over nothing, (consts, carry) -> carry.
        consts: how many of its inputs are constants.
    """
    body = jaxpr.jaxpr
    if not body.eqns:
        return None
    *before, cond = body.eqns
    branches = cond.params.get("branches", ())
    if cond.primitive is not lax.cond_p or len(branches) != 2 or list(body.outvars) != list(cond.outvars):
        return None
    index, *operands = cond.invars
    if isinstance(index, Literal) or not _is_idle(branches[0].jaxpr, operands, body.invars[consts:], index, before):
        return None
    going_on = cond.replace(invars=[Literal(np.array(1, index.aval.dtype), index.aval), *operands])
    shared = list(body.constvars), list(jaxpr.consts), body.invars
    return make_closed(*shared, [index], before), make_closed(*shared, body.outvars, [*before, going_on])


def _is_idle(branch: Any, operands: list[Any], carry: list[Any], index: Any, before: list[Any]) -> bool:
    """Whether a branch gives the carry as it is; False for the condition itself, which is part of some carries."""
    inputs = dict(zip(branch.invars, operands, strict=True))
    conditions = [
        index,
        *(eqn.invars[0] for eqn in before if eqn.outvars[0] is index and eqn.primitive is lax.convert_element_type_p),
    ]
    for out, value in zip(branch.outvars, carry, strict=True):
        if isinstance(out, Literal):
            if literal_value(out).any() or value.aval.dtype != np.bool_ or not any(value is one for one in conditions):
                return False
        elif inputs.get(out) is not value:
            return False
    return not branch.eqns
