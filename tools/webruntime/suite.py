"""A pytest plugin: the tests that export and compare run in onnxruntime-web, exported for it.

    pytest -p webruntime.suite --web FOLDER --place node tests-integration/programs

`to_onnx` has `target="onnxruntime-web"` where a test does not say another, and sessions are those of the npm package.
A test counts as refused, not as failed, where the export says that the target cannot run the program.
"""

from __future__ import annotations

import re

import onnxruntime
import pytest

import j2o_core

from . import use

REFUSED = re.compile(r"onnxruntime-web \d|onnxruntime-web takes")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options: where the package is, and where it runs."""
    group = parser.getgroup("onnxruntime-web")
    group.addoption("--web", metavar="FOLDER", help="where npm install onnxruntime-web was run")
    group.addoption("--place", default="node", help="node or chromium")


def pytest_configure(config: pytest.Config) -> None:
    """Export for browsers from now on."""
    runtime = use(config.getoption("--web"), config.getoption("--place"))
    config.add_cleanup(runtime.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> pytest.TestReport:
    """A refusal that names the target is no failure."""
    del item
    report = yield
    refused = call.excinfo is not None and isinstance(call.excinfo.value, j2o_core.J2oError)
    if refused and REFUSED.search(str(call.excinfo.value)):
        report.outcome = "skipped"
        report.longrepr = ("", 0, f"Skipped: refused: {call.excinfo.value}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Models and runs of the package, so that a suite that never used it is seen."""
    sessions = onnxruntime.InferenceSession
    terminalreporter.write_line(f"onnxruntime-web: {sessions.made} models, {sessions.ran} runs")
