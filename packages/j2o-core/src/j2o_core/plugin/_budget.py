"""A limit to the time of one rule: one that never returns is stopped and named.

Whenever a rule adds a node, it is asked for the time. A rule that adds none is stopped by another thread, which looks
at each export from time to time and raises an exception in its thread, as Ctrl-C would: harmless, for an export may be
interrupted at any instruction. Code in C is not interrupted before it returns. Time that passes in other rules, which a
rule of control flow calls for its body, is theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .._errors import J2oError

# Rules take milliseconds.
LIMIT_SECONDS = 120.0

P = ParamSpec("P")
R = TypeVar("R")


class _State(threading.local):
    """The work of a thread."""

    running: limited | None = None
    watch: Callable[[], _Watch | None] = staticmethod(lambda: None)


_thread = _State()


class _Stopped(BaseException):
    """Raised in the thread of a rule that takes too long. Not an `Exception`, which a rule might catch."""


class limited:  # noqa: N801 - used like a function
    """A block that runs a rule, or several one after the other: then `restart` comes before each.

    Args:
        describe: gives the rule that runs, its plugin and where it is applied, as text.
        error: what is raised if it takes too long.
    """

    __slots__ = ("_begin", "_describe", "_error", "_outer", "_start")

    def __init__(self, describe: Callable[[], str], error: type[J2oError]):
        self._describe = describe
        self._error = error

    def __enter__(self) -> limited:
        self._begin = self._start = time.monotonic()
        self._outer = _thread.running
        _thread.running = self
        return self

    def restart(self) -> None:
        """Count the time of the next rule."""
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        _thread.running = self._outer
        if self._outer is not None:
            self._outer._start += time.monotonic() - self._begin

    def is_over(self) -> bool:
        """Whether it takes too long."""
        return time.monotonic() - self._start > LIMIT_SECONDS

    def error(self) -> J2oError:
        """The error that says so."""
        return self._error(
            f"{self._describe()} has been running for {LIMIT_SECONDS:.0f} s and was stopped. It may never end: please "
            f"report it to its plugin."
        )


def check_time() -> None:
    """Raise the error of the rule that runs in this thread if it takes too long."""
    running = _thread.running
    if running is not None and running.is_over():
        raise running.error()


def watched(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose rules are stopped even if they add no nodes."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _thread.watch() is not None:  # an export inside of a rule
            return function(*args, **kwargs)
        with (watch := _Watch()), watch:
            watch.start()
            return function(*args, **kwargs)

    return call


class _Watch:
    """Has another thread look at this one until the block ends.

    `with (watch := _Watch()), watch:` enters it twice, so it is left twice: an interrupt may come while it ends.
    """

    def __init__(self) -> None:
        self.stopped: limited | None = None
        self._ident = threading.get_ident()
        self._state = _thread.__dict__
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._other: threading.Thread | None = None

    def __enter__(self) -> _Watch:
        return self

    def start(self) -> None:
        """Begin to look. The other thread ends, too, when this object is garbage."""
        _thread.running = None  # one that was stopped as it ended may have stayed
        _thread.watch = reference = weakref.ref(self)
        other = threading.Thread(target=_look_at, args=(reference, self._ended), name="j2o-watch", daemon=True)
        with contextlib.suppress(RuntimeError):  # there are no threads, as in browsers
            other.start()
            self._other = other

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        while not self._ended.is_set():
            try:
                with self._lock:
                    self._ended.set()
                if self.stopped is not None:
                    _take_exception(self._ident)
            except _Stopped:
                pass
        _thread.watch = _State.watch
        if self._other is not None:
            self._other.join()  # an export leaves no thread behind
        if kind is _Stopped:
            raise _reason(self.stopped) from None

    def look(self) -> None:
        """Stop the rule that runs in the other thread if it takes too long."""
        running = self._state.get("running")
        if running is None or not running.is_over() or _is_debugged(self._ident):
            return
        with self._lock:
            if not self._ended.is_set() and self._state.get("running") is running:
                self.stopped = running
                _raise_in(self._ident, _Stopped)


def _look_at(watch: Callable[[], _Watch | None], ended: threading.Event) -> None:
    while not ended.wait(LIMIT_SECONDS / 8):
        found = watch()
        if found is None:
            return
        found.look()
        del found


def _reason(rule: limited | None) -> J2oError:
    """The error of the rule that was stopped; the exception may come when another one runs already."""
    watch = _thread.watch()
    rule = watch.stopped if watch is not None and watch.stopped is not None else rule
    assert rule is not None
    return rule.error()


def _raise_in(ident: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


def _take_exception(ident: int) -> None:
    """Let an exception that is on its way to this thread arrive here.

    To withdraw it would leave Python's flag for it set: in Python 3.11, functions that are traced then never begin.
    """
    _raise_in(ident, _Stopped)  # in the place of the one on its way
    for _ in range(1_000_000):  # it comes with the first turns
        pass


def _is_debugged(ident: int) -> bool:
    """Whether somebody steps through a thread: there a rule may take its time."""
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None:
        return True
    frame = sys._current_frames().get(ident)
    while frame is not None:
        if frame.f_trace is not None:
            return True
        frame = frame.f_back
    return False
