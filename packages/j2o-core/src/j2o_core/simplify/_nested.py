"""Jaxprs inside an equation: the bodies of control flow, as deep as they may be nested.

What transforms a jaxpr and the ones inside it is written as a recursion, but with generators: `yield` in the place of a
call. `complete` runs it with a list in the place of Python's stack, which ends at some hundred levels.
"""

import operator
from collections.abc import Callable, Generator, Iterator
from typing import Any

from .._compat import JAXPRS, as_closed, is_jaxpr

_MAY_HOLD = (*JAXPRS, tuple, list)

# A recursion: it yields others, is sent what they return, and returns something itself.
Steps = Generator["Steps", Any, Any]


def complete(steps: Steps) -> Any:
    """Run a recursion to its end; what it returns."""
    running, result = [steps], None
    while running:
        try:
            inner = running[-1].send(result)
        except StopIteration as stop:
            running.pop()
            result = stop.value
        else:
            running.append(inner)
            result = None
    return result


def nested(eqn: Any) -> list[Any]:
    """Every closed jaxpr among the parameters; none of a composite, whose body waits until it is needed."""
    found: list[Any] = []
    for value in eqn.params.values():
        if isinstance(value, JAXPRS):
            found += [as_closed(value)] if is_jaxpr(value) else []
        elif isinstance(value, (tuple, list)):
            found += [as_closed(item) for item in value if is_jaxpr(item)]
    return [] if found and hasattr(eqn.primitive, "composite") else found


def all_jaxprs(jaxpr: Any) -> Iterator[Any]:
    """A closed jaxpr and all inside it, in no order that means anything."""
    waiting = [jaxpr]
    while waiting:
        closed = waiting.pop()
        yield closed
        waiting.extend(body for eqn in closed.jaxpr.eqns for body in nested(eqn))


def is_same(jaxpr: Any, eqns: list[Any]) -> bool:
    """Whether these are the equations of a closed jaxpr, every one the same object."""
    return len(eqns) == len(jaxpr.jaxpr.eqns) and all(map(operator.is_, eqns, jaxpr.jaxpr.eqns))


def may_hold_jaxprs(eqn: Any) -> bool:
    """Whether a jaxpr may be among the parameters. Few have one: this spares the others a generator."""
    for value in eqn.params.values():
        if isinstance(value, _MAY_HOLD):
            if isinstance(value, JAXPRS):
                return True
            for item in value:
                if isinstance(item, JAXPRS):
                    return True
    return False


def with_nested(eqn: Any, transform: Callable[[Any], Steps]) -> Steps:
    """The equation with every closed jaxpr transformed, itself if it has none."""
    params = yield from map_nested(eqn, transform)
    return eqn if params is eqn.params else eqn.replace(params=params)


def map_nested(eqn: Any, transform: Callable[[Any], Steps]) -> Steps:
    """The parameters with every closed jaxpr transformed; a composite's body waits until it is needed.

    They are the equation's own if no jaxpr changes.
    """
    changed: dict[str, Any] = {}
    held = [(key, value) for key, value in eqn.params.items() if isinstance(value, _MAY_HOLD)]
    for key, value in held:
        if hasattr(eqn.primitive, "composite"):
            return eqn.params
        items = value if isinstance(value, (tuple, list)) else (value,)
        results = []
        for item in items:
            closed = as_closed(item) if is_jaxpr(item) else None
            result = item if closed is None else (yield transform(closed))
            results.append(item if result is closed else result)
        if not all(map(operator.is_, results, items)):
            changed[key] = type(value)(results) if items is value else results[0]
    return {**eqn.params, **changed} if changed else eqn.params
