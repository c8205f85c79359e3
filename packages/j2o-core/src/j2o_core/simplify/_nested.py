"""Jaxprs inside an equation: the bodies of control flow."""

from collections.abc import Callable
from typing import Any

from .._compat import as_closed, is_jaxpr


def nested(eqn: Any) -> list[Any]:
    """Every closed jaxpr among the parameters; none of a composite, whose body waits until it is needed."""
    if hasattr(eqn.primitive, "composite"):
        return []
    values = [
        item for value in eqn.params.values() for item in (value if isinstance(value, (tuple, list)) else [value])
    ]
    return [as_closed(item) for item in values if is_jaxpr(item)]


def map_nested(eqn: Any, transform: Callable[[Any], Any]) -> dict[str, Any]:
    """The parameters with every closed jaxpr transformed; a composite's body waits until it is needed."""
    params = dict(eqn.params)
    if hasattr(eqn.primitive, "composite"):
        return params
    for key, value in params.items():
        if is_jaxpr(value):
            params[key] = transform(as_closed(value))
        elif isinstance(value, (tuple, list)) and any(map(is_jaxpr, value)):
            params[key] = type(value)(transform(as_closed(v)) if is_jaxpr(v) else v for v in value)
    return params
