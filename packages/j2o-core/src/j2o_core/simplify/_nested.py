"""Jaxprs inside an equation: the bodies of control flow, as deep as they may be nested.

What transforms a jaxpr and the ones inside it is written as a recursion, but with generators: `yield` in the place of a
call. `complete` runs it with a list in the place of Python's stack, which ends at some hundred levels.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from .._compat import JAXPRS, as_closed, is_jaxpr

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


def with_nested(eqn: Any, transform: Callable[[Any], Steps]) -> Steps:
    """The equation with every closed jaxpr transformed, itself if it has none."""
    params = yield from map_nested(eqn, transform)
    return eqn if params is eqn.params else eqn.replace(params=params)


def map_nested(eqn: Any, transform: Callable[[Any], Steps]) -> Steps:
    """The parameters with every closed jaxpr transformed; a composite's body waits until it is needed."""
    if not nested(eqn):
        return eqn.params
    params = dict(eqn.params)
    for key, value in params.items():
        if is_jaxpr(value):
            params[key] = yield transform(as_closed(value))
        elif isinstance(value, (tuple, list)) and any(map(is_jaxpr, value)):
            items = []
            for item in value:
                items.append((yield transform(as_closed(item))) if is_jaxpr(item) else item)
            params[key] = type(value)(items)
    return params
