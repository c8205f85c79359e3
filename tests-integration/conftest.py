"""The matrix of the integration tests: a test that asks for `opset` or `shapes` runs once for each value.

`--opset 18,23` and `--shapes static` narrow it.
"""

from collections.abc import Sequence

import pytest

OPSETS = (18, 21, 23, 26)
SHAPES = ("static", "symbolic")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("export matrix")
    group.addoption("--opset", default=",".join(map(str, OPSETS)), help="opsets to export at, separated by commas")
    group.addoption("--shapes", default=",".join(SHAPES), help="static, symbolic or both, separated by commas")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = metafunc.definition.iter_markers("parametrize")
    own = {name.strip() for mark in marks for names in mark.args[:1] for name in _names(names)}
    asked = set(metafunc.fixturenames) - own  # a test may name its own opsets
    option = metafunc.config.getoption
    if "opset" in asked:
        opsets = [int(opset) for opset in option("--opset").split(",")]
        metafunc.parametrize("opset", opsets, ids=[f"opset{opset}" for opset in opsets])
    if "shapes" in asked:
        shapes = option("--shapes").split(",")
        if unknown := set(shapes).difference(SHAPES):
            raise pytest.UsageError(f"--shapes knows {', '.join(SHAPES)}, not {', '.join(sorted(unknown))}")
        metafunc.parametrize("shapes", shapes)


def _names(names: str | Sequence[str]) -> Sequence[str]:
    return names.split(",") if isinstance(names, str) else names


@pytest.fixture
def symbolic(shapes: str) -> bool:
    """Whether the test's batch or length is to be a named dimension."""
    return shapes == "symbolic"
