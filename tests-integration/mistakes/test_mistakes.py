"""The answers to mistakes: `messages.md` is the snapshot, and whoever changes a message reads it there.

python tests-integration/mistakes/test_mistakes.py      # writes messages.md anew
"""

import contextlib
import inspect
import re
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mistakes as table
from j2o_core import J2oError

PAGE = Path(__file__).with_name("messages.md")
# Where a message quotes JAX, or what is installed, its words are those of this release.
JAX = "0.12"

RENEW = "read it, then: python tests-integration/mistakes/test_mistakes.py"
HEAD = """# Answers of j2o to {count} mistakes

Written by `python tests-integration/mistakes/test_mistakes.py`, with JAX {jax}.
A line such as `you.py:2` is the second one of the code above it.
"""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with the files that the command line is run beside, as the current one."""
    with tempfile.TemporaryDirectory() as path, contextlib.chdir(path):
        table.folder(Path(path))
        others = sys.modules.pop("models", None)
        yield Path(path)
        sys.modules.pop("models", None)
        if others is not None:
            sys.modules["models"] = others


def code(mistake: table.Mistake) -> tuple[str, int]:
    """The lines of a mistake, and the number of the line above them in their file."""
    lines, first = inspect.getsourcelines(mistake.code)
    return textwrap.dedent("".join(lines[2:])), first + 1


def message(mistake: table.Mistake, place: Path) -> str:
    """The answer, with lines of the code as those of a file of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mistake.code()
        except table.Command as error:
            text = str(error)
        except J2oError as error:
            text = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - what is no J2oError is shown as well, and refused below
            text = f"!! {type(error).__name__}: {error}"
        else:
            text = "!! nothing"
    _, above = code(mistake)

    def line(found: re.Match[str]) -> str:
        number = int(found[1]) - above
        return f"you.py:{number}" if number > 0 else "you.py:top"

    text = re.sub(re.escape(str(Path(table.__file__))) + r":(\d+)", line, text)
    text = text.replace(str(place.resolve()), "/home/you").replace(str(place), "/home/you")
    text = text.replace(jax.__version__, JAX)
    text = re.sub(r"/\S*/site-packages/(\S+\.py):\d+", r"site-packages/\1:...", text)
    text = re.sub(r"\b0x[0-9a-f]+", "0x...", text)
    text = re.sub(r"\.py:\d+\)", ".py:...)", text)
    return re.sub(r"(?m)^ +$", "", text)


def title(mistake: table.Mistake) -> str:
    words = mistake.code.__name__.replace("_", " ")
    return words[0].upper() + words[1:]


def section(mistake: table.Mistake, place: Path) -> str:
    return f"### {title(mistake)}\n```python\n{code(mistake)[0]}```\n```text\n{message(mistake, place)}\n```\n"


def page() -> str:
    """The whole snapshot."""
    parts = [HEAD.format(count=len(table.MISTAKES), jax=JAX)]
    chapter = ""
    with folder() as place:
        for mistake in table.MISTAKES:
            if mistake.chapter != chapter:
                chapter = mistake.chapter
                parts.append(f"## {chapter}\n")
            parts.append(section(mistake, place))
    return "\n".join(parts)


def snapshot() -> dict[str, str]:
    """The messages of the page by the titles of their mistakes, the chapters left out."""
    sections = re.findall(r"(?ms)^### (.*?)\n```python\n.*?^```text\n(.*?)\n```$", PAGE.read_text(encoding="utf-8"))
    return dict(sections)


def test_the_list_is_long_and_without_repetition():
    titles = [title(mistake) for mistake in table.MISTAKES]
    assert len(titles) >= 78
    assert list(snapshot()) == titles == list(dict.fromkeys(titles)), RENEW


@pytest.fixture(scope="module")
def place():
    with folder() as path:
        yield path


@pytest.mark.parametrize("mistake", table.MISTAKES, ids=lambda mistake: mistake.code.__name__)
def test_the_message_is_that_of_the_page(mistake, place):
    said, wanted = message(mistake, place), snapshot()[title(mistake)]
    assert not said.startswith("!!")
    if not jax.__version__.startswith(JAX):  # the class of the error, and j2o's own words before those of JAX
        said, wanted = said.partition("\n")[0].partition("(")[0], wanted.partition("\n")[0].partition("(")[0]
    assert said == wanted, RENEW


@pytest.mark.parametrize("kind", [J2oError, *J2oError.__subclasses__()])
def test_every_class_has_its_paragraph(kind):
    text = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    assert f"\n## {kind.__name__}\n" in text
    assert kind("x").__notes__ == [f"See docs/errors.md#{kind.__name__.lower()}."]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
