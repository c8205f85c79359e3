"""Rules that never return: with nodes and without, in any thread."""

import concurrent.futures
import contextlib
import random
import sys
import threading
import time
import types

import jax
import pytest

from j2o_core import LoweringError, RewriteError
from j2o_core.plugin import _budget


@pytest.fixture(autouse=True)
def _callbacks(monkeypatch):
    """An error inside a callback of Python's, such as Ctrl-C, is printed and lost; the next comes later."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


@pytest.fixture
def _short(monkeypatch):
    monkeypatch.setattr(_budget, "LIMIT_SECONDS", 0.05)


def adding(ctx, x, **_):
    while True:
        x = ctx.op.Sin(x)


def idle(ctx, x, **_):
    while True:
        pass


def catching(ctx, x, **_):
    while True:
        with contextlib.suppress(Exception):
            sum(range(100))


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("rule", [adding, idle, catching])
def test_a_rule_is_stopped_and_named(export, plugin, rule):
    plugin.lowering("cbrt")(rule)
    with pytest.raises(LoweringError, match=r"rule for cbrt at .* \(plugin 'fake'\) has been running for"):
        export(jax.lax.cbrt, [(3,)])
    assert export(lambda x: x + 1, [(3,)]).opset == 21


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("what", [adding, idle])
def test_a_rewrite_is_stopped_and_named(export, plugin, what):
    @plugin.rewrite("Add")
    def endless(rw, node):
        what(rw, node.inputs[0])

    with pytest.raises(RewriteError, match=r"rewrite endless of plugin 'fake' at Add has been running for"):
        export(lambda x: x + 1, [(3,)])


@pytest.mark.usefixtures("_short")
def test_code_that_stands_for_a_primitive_is_stopped_and_named(export, plugin):
    @plugin.decomposition("cbrt")
    def _cbrt(x, *, accuracy):
        idle(None, x)

    with pytest.raises(LoweringError, match=r"The code that stands for cbrt at .* has been running for"):
        export(jax.lax.cbrt, [(3,)])


@pytest.mark.usefixtures("_short")
def test_each_thread_has_its_own_time(export, plugin):
    """Those whose rule never ends are stopped, the others are not; and no thread is left behind."""
    plugin.lowering("cbrt")(idle)

    def work(fn):
        try:
            return len(export(fn, [(3,)]).model.graph)
        except LoweringError as error:
            return str(error)

    export(lambda x: x + 1, [(3,)])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        stopped, *others = pool.map(work, [jax.lax.cbrt, *[lambda x: x + 1] * 6])
    assert "rule for cbrt" in stopped
    assert others == [1] * 6
    for thread in threading.enumerate():
        if thread.name == "j2o-watch":
            thread.join(10)
    assert "j2o-watch" not in {thread.name for thread in threading.enumerate()}


def test_an_exception_that_comes_late_never_leaves_an_export(export, plugin, monkeypatch):
    """A rule ends at the very moment when it is stopped: the program or the error, and nothing after it."""
    monkeypatch.setattr(_budget, "LIMIT_SECONDS", limit := 0.004)
    chance = random.Random(13)

    @plugin.lowering("cbrt")
    def _cbrt(ctx, x, **_):
        end = time.monotonic() + limit * chance.uniform(0.9, 1.4)
        while time.monotonic() < end:
            pass
        return ctx.op.Sin(x)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    outcomes = set()
    try:
        for _ in range(60):
            try:
                outcomes.add(len(export(jax.lax.cbrt, [(3,)]).model.graph))
            except LoweringError as error:
                outcomes.add(str(error).partition(" ")[0])
            for _ in range(1000):
                pass
    finally:
        sys.setswitchinterval(interval)
    assert outcomes <= {1, "The"}


@pytest.mark.usefixtures("_short")
def test_who_steps_through_a_rule_takes_their_time(export, plugin):
    @plugin.lowering("cbrt")
    def _cbrt(ctx, x, **_):
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            pass
        return x

    before = sys.gettrace()
    sys.settrace(lambda *_: lambda *_: None)
    try:
        export(jax.lax.cbrt, [(3,)])
    finally:
        sys.settrace(before)


def test_the_time_of_inner_rules_is_theirs(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(_budget, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    with _budget.limited(lambda: "outer", LoweringError):
        for _ in range(4):
            with _budget.limited(lambda: "inner", LoweringError):
                clock[0] += 100
                _budget.check_time()
        _budget.check_time()
        clock[0] += 130
        with pytest.raises(LoweringError, match="outer has been running for 120 s"):
            _budget.check_time()


def test_the_thread_that_watches_ends_with_the_export(export):
    """Not some time after it: one that counts threads or forks then finds its own."""
    for _ in range(20):
        export(lambda x: x + 1, [(3,)])
        assert [thread.name for thread in threading.enumerate() if thread.name == "j2o-watch"] == []
