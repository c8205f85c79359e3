"""The bodies of control flow and functions, each with the operands that it gets when JAX runs the equation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _compat
from ..simplify import function_p

MOST_STEPS = 4


@dataclass(frozen=True)
class Step:
    """One run of a body: a closed jaxpr, its operands, and the step in words."""

    body: Any
    operands: list[Any]
    text: str


def steps(eqn: Any, operands: Sequence[Any]) -> Iterator[Step]:
    """The first runs of the bodies of a scan, while, cond or function; none of other equations."""
    kinds = {"scan": _scan, "while": _while, "cond": _cond, function_p.name: _call}
    kind = kinds.get(eqn.primitive.name)
    return kind(eqn.params, list(operands)) if kind is not None else iter(())


def _call(params: dict[str, Any], operands: list[Any]) -> Iterator[Step]:
    yield Step(params["body"], operands, f"the call of {params['callee'].name}")


def _scan(params: dict[str, Any], operands: list[Any]) -> Iterator[Step]:
    consts, carries = _compat.scan_counts(params, len(operands))
    body = _compat.as_closed(params["jaxpr"])
    fixed, carry, xs = operands[:consts], operands[consts : consts + carries], operands[consts + carries :]
    length = params["length"]
    order = range(length - 1, -1, -1) if params["reverse"] else range(length)
    for step in itertools.islice(order, MOST_STEPS):
        given = [*fixed, *carry, *(np.asarray(x)[step] for x in xs)]
        yield Step(body, given, f"step {step} of the scan")
        carry = list(_compat.as_function(body)(*given))[:carries]


def _while(params: dict[str, Any], operands: list[Any]) -> Iterator[Step]:
    test, body = _compat.as_closed(params["cond_jaxpr"]), _compat.as_closed(params["body_jaxpr"])
    in_test, in_body = params["cond_nconsts"], params["body_nconsts"]
    for_test, for_body, carry = operands[:in_test], operands[in_test : in_test + in_body], operands[in_test + in_body :]
    for step in range(MOST_STEPS):
        yield Step(test, [*for_test, *carry], f"the condition of step {step} of the while_loop")
        if not np.asarray(_compat.as_function(test)(*for_test, *carry)[0]).all():
            return
        yield Step(body, [*for_body, *carry], f"step {step} of the while_loop")
        carry = list(_compat.as_function(body)(*for_body, *carry))


def _cond(params: dict[str, Any], operands: list[Any]) -> Iterator[Step]:
    branches = params["branches"]
    index = int(np.clip(int(np.asarray(operands[0])), 0, len(branches) - 1))
    yield Step(_compat.as_closed(branches[index]), operands[1:], f"branch {index} of the cond")
