"""A limit to the time of one rule: one that adds nodes for ever is stopped and named.

The time is looked at whenever the rule adds a node, so nothing has to interrupt the thread. Time that passes in other
rules, which a rule of control flow calls for its body, is theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .._errors import J2oError

# Rules take milliseconds.
LIMIT_SECONDS = 120.0

_thread = threading.local()


class _Running:
    def __init__(self, what: str, error: type[J2oError], outer: _Running | None):
        self.what = what
        self.error = error
        self.outer = outer
        self.start = time.monotonic()


@contextmanager
def limited(what: str, error: type[J2oError]) -> Iterator[None]:
    """Run a rule.

    Args:
        what: the rule, its plugin and where it is applied.
        error: what is raised if it takes too long.
    """
    outer: _Running | None = getattr(_thread, "running", None)
    begin = time.monotonic()
    _thread.running = _Running(what, error, outer)
    try:
        yield
    finally:
        _thread.running = outer
        if outer is not None:
            outer.start += time.monotonic() - begin


def check_time() -> None:
    """Raise the error of the rule that runs in this thread if it takes too long."""
    running: _Running | None = getattr(_thread, "running", None)
    if running is not None and time.monotonic() - running.start > LIMIT_SECONDS:
        raise running.error(
            f"{running.what} has been adding nodes for {LIMIT_SECONDS:.0f} s and was stopped. It may never end: please "
            f"report it to its plugin."
        )
