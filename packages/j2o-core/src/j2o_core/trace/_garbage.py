"""Full garbage collections become rarer while an export goes on.

Most objects that an export makes stay. Python looks through all objects of the process each time that there are a
quarter more: up to a third of the time of a large export. So during an export it waits for more young collections
before a full one, and after each full one for twice as many: garbage is bounded by what the export itself has made. A
full collection that is due when an export begins comes as ever, so that models that were dropped are freed.

Thresholds that somebody sets meanwhile stay, as does a collector that is switched off. A collector that is incremental,
as in Python 3.14, ignores the number. A collection may start in any thread at any time, so there is no lock.
"""

import contextlib
import functools
import gc
import os
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

# So many times as rare: the first, unless one is due when the export begins, and at most.
_FIRST, _LIMIT = 4, 64

P = ParamSpec("P")
R = TypeVar("R")
_Thresholds = tuple[int, int, int]

# The threads of the exports that are in progress.
_threads: dict[int, int] = {}
# The thresholds that were found, and those that were put in their place.
_theirs: _Thresholds = gc.get_threshold()
_ours: set[_Thresholds] = set()


def few_collections(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function make full collections rarer while it runs."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with (export := _Export()), export:
            export.begin()
            return function(*args, **kwargs)

    return call


class _Export:
    """A block that is entered twice, so that it is left twice: an interrupt may come while it ends."""

    _ended = True

    def __enter__(self) -> "_Export":
        return self

    def __exit__(self, *_: object) -> None:
        _threads.pop(id(self), None)
        _restore()
        self._ended = True

    def __del__(self) -> None:
        if not self._ended:  # interrupted both times
            self.__exit__()

    def begin(self) -> None:
        self._ended = False
        _threads[id(self)] = threading.get_ident()
        if _after_collection not in gc.callbacks:
            gc.callbacks.append(_after_collection)
            if gc.get_count()[2] <= gc.get_threshold()[2]:
                _collect_fewer(_FIRST)


def _after_collection(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == 2 and _threads:
        _collect_fewer(2)


def _collect_fewer(factor: int) -> None:
    global _theirs
    found = gc.get_threshold()
    if found not in _ours:
        _theirs = found
    rarer = (*found[:2], min(factor * found[2], _LIMIT * _theirs[2]))
    _ours.add(rarer)
    gc.set_threshold(*rarer)
    if not _threads:  # the last export has ended meanwhile, in another thread
        _ours.add(rarer)
        _restore()


def _restore() -> None:
    """Undo all changes if no export is in progress; twice is the same as once."""
    if _threads:
        return
    with contextlib.suppress(ValueError):  # another thread has removed it
        while _after_collection in gc.callbacks:
            gc.callbacks.remove(_after_collection)
    if gc.get_threshold() in _ours:
        gc.set_threshold(*_theirs)
    _ours.clear()


def _after_fork_in_child() -> None:
    """Exports of other threads do not go on in the child."""
    here = threading.get_ident()
    for key, thread in list(_threads.items()):
        if thread != here:
            _threads.pop(key, None)
    _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
