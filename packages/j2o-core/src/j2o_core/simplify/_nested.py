"""Jaxprs inside an equation: the bodies of control flow, as deep as they may be nested.

What transforms a jaxpr and the ones inside it is written as a recursion, but with generators: `yield` in the place of a
call. `complete` runs it with a list in the place of Python's stack, which ends at some hundred levels.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from .._compat import as_closed, is_jaxpr

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
    if hasattr(eqn.primitive, "composite"):
        return []
    values = [
        item for value in eqn.params.values() for item in (value if isinstance(value, (tuple, list)) else [value])
    ]
    return [as_closed(item) for item in values if is_jaxpr(item)]


def all_jaxprs(jaxpr: Any) -> Iterator[Any]:
    """A closed jaxpr and all inside it, in no order that means anything."""
    waiting = [jaxpr]
    while waiting:
        closed = waiting.pop()
        yield closed
        waiting.extend(body for eqn in closed.jaxpr.eqns for body in nested(eqn))


def map_nested(eqn: Any, transform: Callable[[Any], Steps]) -> Steps:
    """The parameters with every closed jaxpr transformed; a composite's body waits until it is needed."""
    params = dict(eqn.params)
    if hasattr(eqn.primitive, "composite"):
        return params
    for key, value in params.items():
        if is_jaxpr(value):
            params[key] = yield transform(as_closed(value))
        elif isinstance(value, (tuple, list)) and any(map(is_jaxpr, value)):
            items = []
            for item in value:
                items.append((yield transform(as_closed(item))) if is_jaxpr(item) else item)
            params[key] = type(value)(items)
    return params
