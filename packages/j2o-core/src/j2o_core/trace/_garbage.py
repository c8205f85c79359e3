"""Full garbage collections become rare while an export goes on.

Most objects that an export makes stay, and hardly any are garbage that only a collection finds: a dozen after 50,000
equations. Python looks through all objects of the process each time that there are a quarter more. So during an export
it waits for many more young collections before a full one. A full collection that is due when an export begins comes
as ever, so that models that were dropped are freed.

Young collections are as frequent as ever: fewer would take as long, for each looks at more objects, and garbage of
earlier exports would stay for longer.

Thresholds that somebody sets meanwhile stay, as does a collector that is switched off. A collector that is incremental,
as in Python 3.14, ignores the number. There is no lock: whichever of two threads comes last, the thresholds are those
of an export or those that were found.
"""

import functools
import gc
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

# So many times as rare, and the largest threshold that Python takes.
_FACTOR, _LARGEST = 64, 2**31 - 1

P = ParamSpec("P")
R = TypeVar("R")
_Thresholds = tuple[int, int, int]

# The threads of the exports that are in progress.
_threads: dict[int, int] = {}
# The thresholds that were found, and those that were put in their place while there is an export.
_theirs: _Thresholds = gc.get_threshold()
_ours: _Thresholds | None = None


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
        global _theirs, _ours
        self._ended = False
        _threads[id(self)] = threading.get_ident()
        found = gc.get_threshold()
        if found != _ours and gc.get_count()[2] <= found[2]:
            _theirs, _ours = found, (*found[:2], min(_FACTOR * found[2], _LARGEST))
            gc.set_threshold(*_ours)


def _restore() -> None:
    """Undo the change if no export is in progress; twice is the same as once."""
    global _ours
    if _threads:
        return
    if gc.get_threshold() == _ours:
        gc.set_threshold(*_theirs)
    _ours = None


def _after_fork_in_child() -> None:
    """Exports of other threads do not go on in the child."""
    here = threading.get_ident()
    for key, thread in list(_threads.items()):
        if thread != here:
            _threads.pop(key, None)
    _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
