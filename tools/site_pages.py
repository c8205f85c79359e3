"""A hook of mkdocs: the pages that are made from the packages, when the site is built.

`api.md` has the public names of each package with their docstrings, `changelog.md` the news fragments.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PACKAGES = ("j2o_core", "j2o_core.testing", "j2o_autodiff", "j2o_plugins_jax", "j2o_plugins_equinox", "j2o_runtime")
SECTIONS = {"Args", "Attributes", "Returns", "Raises", "Yields"}
KINDS = {"feature": "New", "bugfix": "Repaired", "removal": "Removed"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those of the folder."""
    files.append(File.generated(config, "api.md", content=api()))
    files.append(File.generated(config, "changelog.md", content=changelog()))
    return files


# -- Docstrings --------------------------------------------------------------------------------------------------------


def api() -> str:
    """The page of all public names."""
    parts = ["# API reference", "", "From the docstrings of the packages."]
    for name in PACKAGES:
        module = import_module(name)
        parts += ["", f"## {name}", "", (inspect.getdoc(module) or "").partition("\n")[0]]
        for public in _public(module):
            parts += ["", *_entry(public, getattr(module, public), level=3)]
    return "\n".join(parts) + "\n"


def _public(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = [name for name in names if not inspect.ismodule(getattr(module, name)) and not name.startswith("__")]
    found = [name for name in found if name != "plugin"]  # that of the entry point
    return sorted(found, key=lambda name: (inspect.isclass(getattr(module, name)), name.lower()))


def _entry(name: str, value: Any, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name.rpartition('.')[2] if level > 3 else name} " + "{ #" + name.lower() + " }"
    yield ""
    if callable(value) and (signature := _signature(name, value)):
        yield from ("```python", signature, "```", "")
    yield from markdown(inspect.getdoc(value) or "")
    if inspect.isclass(value) and not issubclass(value, BaseException):
        for key, member in vars(value).items():
            plain = member.fget if isinstance(member, property) else inspect.unwrap(getattr(member, "__func__", member))
            if not key.startswith("_") and inspect.isroutine(plain) and plain.__doc__:
                yield ""
                yield from _entry(f"{name}.{key}", plain, level=level + 1)


def _signature(name: str, value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    # Annotations are strings: the modules of the packages evaluate none.
    parts = [re.sub(r": '(.*?)'(?= = |$)", r": \1", str(one)) for one in signature.parameters.values()]
    returns = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parts)}){returns}"
    if len(line) <= 100:
        return line
    star = [p.kind for p in signature.parameters.values()]
    first = star.index(inspect.Parameter.KEYWORD_ONLY) if inspect.Parameter.KEYWORD_ONLY in star else None
    if first is not None and inspect.Parameter.VAR_POSITIONAL not in star:
        parts.insert(first, "*")
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){returns}"])


def markdown(docstring: str) -> Iterator[str]:
    """A docstring in Google's style as Markdown: sections are lists, what is indented in the text is code."""
    section = ""
    for block in re.split(r"\n(?=\S)", docstring):
        head, _, body = block.partition("\n")
        section = head.rstrip(":") if head.endswith(":") and head.rstrip(":") in SECTIONS else ""
        if not section:
            yield head
            yield from body.splitlines()
            continue
        yield from ("", f"**{section}**", "")
        for item in re.split(r"\n(?=\S)", textwrap.dedent(body).strip()):
            text = " ".join(line.strip() for line in item.splitlines())
            name, colon, rest = text.partition(": ")
            known = colon and re.fullmatch(r"\*{0,2}[\w., *]+", name)
            yield f"- `{name}`: {rest}" if known else f"- {text}"
        yield ""


# -- News --------------------------------------------------------------------------------------------------------------


def changelog() -> str:
    """The page of what changed in each package since its last release."""
    parts = ["# Changelog", "", "What is new in the next release of each package."]
    for folder in sorted(ROOT.glob("packages/*/changelog.d")):
        news = {kind: sorted(folder.glob(f"*.{kind}.md")) for kind in KINDS}
        if any(news.values()):
            parts += ["", f"## {folder.parent.name}"]
        for kind, paths in news.items():
            lines = [" ".join(path.read_text(encoding="utf-8").split()) for path in paths]
            parts += ["", f"### {KINDS[kind]}", "", *(f"- {line}" for line in lines)] if lines else []
    return "\n".join(parts) + "\n"
