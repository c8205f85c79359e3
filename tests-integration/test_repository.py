"""Pages about the repository say what the repository holds, and its sentences begin with nouns."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tools"))

import audit
from architecture_picture import PICTURE, ROOT, picture, reduced, rows


def test_the_picture_of_the_architecture_is_current():
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run: python tools/architecture_picture.py"


def test_the_picture_leaves_out_what_longer_ways_say():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert rows(reduced(graph)) == [["a"], ["b"], ["c"], ["d"]]


def test_variables_of_the_tests_are_listed_for_contributors():
    sources = [path for folder in ("packages", "tests-integration") for path in (ROOT / folder).rglob("*.py")]
    sources += [ROOT / "conftest.py", ROOT / "noxfile.py"]
    used = {name for path in sources for name in re.findall(r"\bJ2O_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))}
    listed = set(re.findall(r"`(J2O_[A-Z_]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert used
    assert listed == used


def test_no_requirement_lets_a_release_with_a_known_vulnerability_in():
    assert audit.known_faults().keys() <= {requirement.name for _, requirement in audit.declared()}
    assert audit.too_low() == []


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_page_is_in_the_navigation(page):
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").splitlines()
    assert page in [line.strip(" -").removeprefix("Home: ") for line in listed]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/style.md"])
def test_files_that_pages_name_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:docs|tools|packages|tests|tests-integration|j2o_core|graph|target)/[\w./-]+)`", text))
    places = [ROOT, *ROOT.glob("packages/*"), *ROOT.glob("packages/*/src"), *ROOT.glob("packages/*/src/*")]
    known = {name for name in named if any((place / name).exists() for place in places)}
    assert {name for name in named - known if not re.search("NAME|STAGE", name)} == set()


def test_both_readers_of_signatures_are_one_file():
    core, runtime = (
        ROOT / "packages" / name for name in ("j2o-core/src/j2o_core/trace", "j2o-runtime/src/j2o_runtime")
    )
    assert (core / "_trees.py").read_bytes() == (runtime / "_trees.py").read_bytes(), "copy the one that was changed"


def sentences(path: Path) -> Iterator[str]:
    """The docstrings and comments of a file."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("#: ")


@pytest.mark.parametrize("folder", ["packages", "tools", "tests-integration", "noxfile.py", "conftest.py"])
def test_no_docstring_or_comment_begins_with_what(folder):
    place = ROOT / folder
    files = place.rglob("*.py") if place.is_dir() else [place]
    found = [(path.name, text) for path in files for text in sentences(path)]
    assert found
    assert [(name, text) for name, text in found if re.match(r"what\b", text, re.IGNORECASE)] == []
