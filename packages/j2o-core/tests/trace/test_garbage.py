"""Full garbage collections become rarer during an export, and all is as it was when the last export has ended."""

import functools
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import pytest

import j2o_core
from j2o_core.trace import _garbage

pytestmark = pytest.mark.skipif(gc.get_threshold()[2] == 0, reason="the collector is incremental")


def settings() -> tuple[object, ...]:
    """The collector's settings."""
    return gc.get_threshold(), gc.isenabled(), list(gc.callbacks)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.disable()  # the tests say when it collects
    gc.set_threshold(700, 10, 10)
    gc.collect()
    yield
    gc.set_threshold(*before)
    if enabled:
        gc.enable()


Watched = Callable[..., list[int]]


@pytest.fixture
def watched(export: Callable[..., object]) -> Watched:
    """Exports a function that calls others while it is traced; the number of young collections, after each."""

    def run(*during: Callable[[], object]) -> list[int]:
        found = []

        def fn(x: jax.Array) -> jax.Array:
            for call in during:
                call()
                found.append(gc.get_threshold()[2])
            return jnp.sin(x)

        export(fn, [(3,)])
        return found

    return run


def test_full_collections_are_rare_during_an_export(watched: Watched) -> None:
    """Collections change nothing. All is restored."""
    before = settings()
    assert watched(lambda: None, lambda: gc.collect(0), gc.collect) == [640, 640, 640]
    assert settings() == before


def test_a_full_collection_that_is_due_when_an_export_begins_comes_as_ever(watched: Watched) -> None:
    """Objects that were dropped before are freed, such as the weights of an earlier model."""
    for _ in range(10):
        gc.collect(1)
    assert watched(lambda: None) == [640]
    gc.collect(1)
    assert watched(lambda: None, gc.collect) == [10, 10]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("thresholds", [(700, 10, 0), (0, 10, 10), (50, 3, 7)])
def test_settings_of_others_are_respected(watched: Watched, thresholds: tuple[int, int, int], enabled: bool) -> None:
    """A collector that is off stays off, and one that collects all each time does so."""
    gc.set_threshold(*thresholds)
    if enabled:
        gc.enable()
    before = settings()
    watched(gc.collect, lambda: None)
    assert settings() == before


def test_thresholds_that_somebody_sets_meanwhile_stay(watched: Watched) -> None:
    """Also if they are those that an earlier export has set."""
    set_by_user = functools.partial(gc.set_threshold, 900, 5, 30)
    assert watched(set_by_user, gc.collect) == [30, 30]
    assert gc.get_threshold() == (900, 5, 30)
    assert watched(lambda: None, lambda: gc.set_threshold(900, 5, 8), lambda: watched(lambda: None)) == [1920, 8, 512]
    assert gc.get_threshold() == (900, 5, 8)
    gc.set_threshold(900, 5, 512)
    watched(lambda: None)
    assert gc.get_threshold() == (900, 5, 512)
    gc.set_threshold(900, 5, 2**31 - 2)
    watched(lambda: None)
    assert gc.get_threshold() == (900, 5, 2**31 - 2)


def test_exports_that_fail_and_exports_inside_of_others(watched: Watched) -> None:
    """The last one to end restores."""
    before = settings()

    def failing() -> None:
        with pytest.raises(j2o_core.TraceError):
            watched(lambda: 1 / 0)

    assert watched(gc.collect, failing, lambda: watched(gc.collect)) == [640, 640, 640]
    assert settings() == before


def test_exports_in_two_threads(watched: Watched) -> None:
    """The one that ends first leaves the settings to the other."""
    before = settings()
    started, ended = threading.Event(), threading.Event()
    found: list[int] = []

    def other() -> None:
        found.extend(watched(lambda: (started.set(), ended.wait(60)), gc.collect))

    thread = threading.Thread(target=other)
    thread.start()
    assert started.wait(60)
    assert watched(gc.collect) == [640]
    assert gc.get_threshold() == (700, 10, 640)
    ended.set()
    thread.join()
    assert found == [640, 640]
    assert settings() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_child_that_another_thread_forks_has_the_settings_of_before(watched: Watched) -> None:
    """The export does not go on there."""
    before = settings()
    child: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(settings() != before)
        child.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def in_thread() -> None:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()

    assert watched(gc.collect, in_thread) == [640, 640]
    assert child == [0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_leaves_nothing_behind() -> None:
    """A block is left twice, and by its finalizer after two interrupts."""
    before = settings()
    lines = 0

    def run(stops: tuple[int, ...]) -> None:
        nonlocal lines
        lines = 0

        def trace(frame: object, event: str, _: object) -> object:
            nonlocal lines
            if frame.f_code.co_filename != _garbage.__file__:  # type: ignore[attr-defined]
                return None
            if event == "line":
                lines += 1
                if lines in stops:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            _garbage.few_collections(gc.get_threshold)()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    run(())
    assert lines > 12
    for stop in range(1, lines + 1):
        for stops in ((stop,), (stop, stop + 1), (stop, stop + 3)):
            run(stops)
            assert settings() == before, stops
