"""Settings that all tests of the repository run under, whichever package they belong to."""

import importlib.metadata
import importlib.util
import os
import zlib

import pytest


def _quick_compiler() -> str:
    """XLA's flags for programs that run once: nearly all the time of a reference goes into optimizing it."""
    flags = "--xla_backend_optimization_level=0"
    if not importlib.util.find_spec("jaxlib"):  # j2o-runtime is tested without
        return ""
    if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 12):
        flags += " --xla_cpu_use_fusion_emitters=false"  # an unknown flag ends the process
    return flags


os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A key used twice is a bug in a test as in a model; JAX finds it when asked.
os.environ.setdefault("JAX_DEBUG_KEY_REUSE", "1")
# `XLA_FLAGS= pytest ...` compares with JAX as it compiles by default; so do `nox -s primitives`, `fuzz` and `demo`.
os.environ.setdefault("XLA_FLAGS", _quick_compiler())

if importlib.util.find_spec("hypothesis"):  # not every package draws examples
    from hypothesis import settings

    # The first example of a shape compiles it: no deadline is fair. The same examples come on every machine.
    settings.register_profile("j2o", deadline=None, derandomize=True)
    settings.load_profile("j2o")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sample")
    cases = "run about every Nth case of a parametrized test, one at least"
    group.addoption("--every", type=int, default=1, metavar="N", help=cases)
    tests = "run about every Nth test only, one case of each"
    group.addoption("--sample", type=int, metavar="N", help=tests)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds; `-m 'not slow'` leaves it out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    every, sample = config.getoption("--every"), config.getoption("--sample")
    kept, left_out, seen = [], [], set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        # By name, not in turn: cases that differ in one parameter follow each other at regular distances.
        if sample:
            chosen = test not in seen and zlib.crc32(test.encode()) % sample == 0
        else:
            chosen = test not in seen or zlib.crc32(item.nodeid.encode()) % every == 0
        (kept if chosen else left_out).append(item)
        seen.add(test)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
