"""The parameters of a rule: those it reads and those it knowingly ignores. Any other is refused, not swallowed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .._errors import UnknownParameter

_UNKNOWN = """The rule of plugin {plugin!r} for {primitive} does not know the parameter {name} = {value!r}
of JAX {version}. It reads {reads} and ignores {ignores}.
Whether it is still right, its authors have to say: update the package of the plugin. A rule of your own reads it, or
says that it makes no difference: ignores=["{name}"]."""


def reads(rule: Callable[..., Any]) -> frozenset[str] | None:
    """The keywords that a rule accepts, None if it takes all."""
    try:
        parameters = inspect.signature(rule).parameters.values()
    except ValueError:  # code without a signature, of an extension module
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return frozenset(parameter.name for parameter in parameters if parameter.kind in named)


def with_known(rule: Callable[..., Any], ignores: Sequence[str], plugin: str, primitive: str) -> Callable[..., Any]:
    """A rule that is called with all parameters of an equation, and gets those that it reads.

    Raises:
        UnknownParameter: when called with a parameter that it neither reads nor ignores.
    """
    known = reads(rule)
    if known is None:
        return rule

    read_of: dict[tuple[str, ...], list[str]] = {}  # those that it reads, by all that an equation has

    @functools.wraps(rule)
    def call(*operands: Any, **params: Any) -> Any:
        names = tuple(params)
        read = read_of.get(names)
        if read is None:
            for name, value in params.items():
                if name not in known and name not in ignores:
                    raise UnknownParameter(_message(plugin, primitive, name, value, known, ignores))
            read = read_of[names] = [name for name in names if name in known]
        return rule(*operands, **{name: params[name] for name in read})

    return call


def or_body(rule: Callable[..., Any], ignores: Sequence[str]) -> Callable[..., Any]:
    """A composite's rule that has the body lowered for keywords that it neither reads nor ignores."""
    known = reads(rule)
    if known is None:
        return rule

    @functools.wraps(rule)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if any(name not in known and name not in ignores for name in keywords):
            return NotImplemented
        return rule(*arguments, **{name: value for name, value in keywords.items() if name in known})

    return call


def _message(plugin: str, primitive: str, name: str, value: Any, known: frozenset[str], ignores: Sequence[str]) -> str:
    import jax

    return _UNKNOWN.format(
        plugin=plugin,
        primitive=primitive,
        name=name,
        value=value,
        version=jax.__version__,
        reads=", ".join(sorted(known)) or "none",
        ignores=", ".join(sorted(ignores)) or "none",
    )
