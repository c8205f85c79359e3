"""Pass-throughs that bind composites while an export traces, and are gone after the last trace ends.

A captured function is replaced where it is defined and wherever a loaded module holds the same object, so that
`from jax.nn import gelu` makes no difference. The pass-through calls the original unless the current thread is
inside `capturing`, so other threads see no change of behaviour.
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..plugin._composite import Composite

_lock = threading.RLock()
_thread = threading.local()
_installed: dict[Composite, "_Installed"] = {}


class _Installed:
    """One function replaced: how often it is wanted, and every place that was changed."""

    def __init__(self, original: Any, replacement: Any):
        self.count = 0
        self.original = original
        self.replacement = replacement
        self.places: list[tuple[Any, str]] = []
        self.modules = frozenset(sys.modules)  # those loaded later may have imported the replacement


@contextmanager
def installed(composites: Sequence[Composite]) -> Iterator[list[Composite]]:
    """Keep the pass-throughs of these composites in place: to look through all loaded modules costs milliseconds.

    Yields those whose functions were found. Nothing is bound until `capturing` is entered too.
    """
    found = _install(composites)
    try:
        yield found
    finally:
        _uninstall(found)


@contextmanager
def capturing(composites: Sequence[Composite]) -> Iterator[None]:
    """Bind these composites when their functions are called in this thread."""
    with installed(composites) as found:
        outer: frozenset[Composite] = getattr(_thread, "active", frozenset())
        _thread.active = outer | frozenset(found)
        try:
            yield
        finally:
            _thread.active = outer


def captured(function: Any) -> Any:
    """What stands for a function while it is captured; a function that is not stays as it is.

    A function given by value (`to_onnx(jax.nn.gelu, ...)`) is not looked up anywhere where it could be replaced.
    """
    with _lock:
        for entry in _installed.values():
            if entry.original is function:
                return entry.replacement
    return function


def _install(composites: Sequence[Composite]) -> list[Composite]:
    found = []
    with _lock:
        fresh: dict[int, _Installed] = {}
        for composite in composites:
            entry = _installed.get(composite)
            if entry is None:
                place = composite.locate()
                if place is None:
                    continue
                owner, attribute = place
                original = vars(owner)[attribute]
                entry = _Installed(original, _pass_through(composite, original))
                _installed[composite] = entry
                entry.places.append((owner, attribute))
                fresh[id(original)] = entry
            entry.count += 1
            found.append(composite)
        _find_places(fresh)
        for entry in fresh.values():
            for owner, attribute in entry.places:
                setattr(owner, attribute, entry.replacement)
    return found


def _find_places(fresh: dict[int, _Installed]) -> None:
    """Add every module attribute that is one of the original functions."""
    if not fresh:
        return
    for module in list(sys.modules.values()):
        namespace = getattr(module, "__dict__", None)
        if type(namespace) is not dict:
            continue
        if fresh.keys().isdisjoint(map(id, list(namespace.values()))):
            continue
        for name, value in list(namespace.items()):
            entry = fresh.get(id(value))
            if entry is not None and (module, name) not in entry.places:
                entry.places.append((module, name))


def _uninstall(composites: Sequence[Composite]) -> None:
    with _lock:
        for composite in composites:
            entry = _installed[composite]
            entry.count -= 1
            if entry.count:
                continue
            del _installed[composite]
            for owner, attribute in entry.places:
                # Someone else may have replaced it meanwhile: theirs stays.
                if vars(owner).get(attribute) is entry.replacement:
                    setattr(owner, attribute, entry.original)
            for name in sys.modules.keys() - entry.modules:
                module = sys.modules[name]
                for attribute, value in list(getattr(module, "__dict__", {}).items()):
                    if value is entry.replacement:
                        setattr(module, attribute, entry.original)


def _pass_through(composite: Composite, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        active: frozenset[Composite] = getattr(_thread, "active", frozenset())
        if composite not in active:
            return original(*args, **kwargs)
        # The body is the original: inside it the same function must not be caught again.
        _thread.active = active - {composite}
        try:
            return composite.bind(original, args, kwargs)
        finally:
            _thread.active = active

    return call
