"""Write docs/architecture.svg: which packages require which, and which folders of j2o-core import which.

usage: architecture_picture.py [--check]

--check writes nothing and fails if the picture is not what this would write. Requirements are those of each
pyproject.toml, imports those of the sources. An arrow points to what is required or imported; where a longer way along
other arrows leads to the same place, the direct arrow is left out.
"""

import argparse
import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from generated import settle

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
CORE = "j2o_core"

Graph = dict[str, set[str]]

_BOX = (142, 32)
_STEP = (158, 76)
_STYLE = """<style>
text { font: 14px system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1a1a1a }
text.title { font-weight: 600; fill: #5a5a5a }
rect { fill: #eef2fb; stroke: #4a5fa5; stroke-width: 1.2 }
path.arrow { fill: none; stroke: #7a86a8; stroke-width: 1.2; marker-end: url(#head) }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 z" fill="#7a86a8"/></marker></defs>"""


def packages() -> Graph:
    """The packages of the repository, and those of them that each requires."""
    projects = [tomllib.loads(path.read_text())["project"] for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
    required = {project["name"]: set(map(_name, project["dependencies"])) for project in projects}
    return {name: targets & set(required) for name, targets in required.items()}


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found.group()


def stages() -> Graph:
    """The folders of j2o-core, and those of them that the files of each import."""
    (source,) = ROOT.glob(f"packages/*/src/{CORE}")
    folders = {path.parent.name for path in source.glob("*/__init__.py")}
    graph: Graph = {name: set() for name in sorted(folders)}
    for name in graph:
        for path in (source / name).rglob("*.py"):
            inside = path.relative_to(source.parent).with_suffix("").parts
            reached = {part for module in _imports(path, inside) if module[0] == CORE for part in module[1:2]}
            graph[name] |= (reached & folders) - {name}
    return graph


def _imports(path: Path, inside: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The modules that a file imports, by their parts; `inside` is the module that the file is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def reduced(graph: Mapping[str, set[str]]) -> Graph:
    """The graph without arrows from where a longer way leads to the same place."""

    def reach(name: str) -> set[str]:
        return graph[name].union(*map(reach, graph[name]))

    return {name: targets - {far for target in targets for far in reach(target)} for name, targets in graph.items()}


def rows(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The names in rows, each one row above the highest that it imports; neighbours stand near what they import."""

    def height(name: str) -> int:
        return 1 + max(map(height, graph[name]), default=-1)

    found: list[list[str]] = []
    for name in sorted(graph, key=lambda name: (height(name), name)):
        found += [[] for _ in range(height(name) + 1 - len(found))]
        found[height(name)].append(name)
    places: dict[str, float] = {}
    for row in found:
        row.sort(key=lambda name: (sum(places[t] for t in graph[name]) / max(len(graph[name]), 1), name))
        places |= {name: index - (len(row) - 1) / 2 for index, name in enumerate(row)}
    return found[::-1]


def draw(title: str, graph: Mapping[str, set[str]], left: float) -> tuple[list[str], float, float]:
    """A graph as SVG elements, with the x at which it ends and its height."""
    lines = reduced(graph)
    table = rows(lines)
    width = max(map(len, table)) * _STEP[0]
    centre = left + width / 2
    at = {
        name: (centre + (index - (len(row) - 1) / 2) * _STEP[0], 70 + level * _STEP[1])
        for level, row in enumerate(table)
        for index, name in enumerate(row)
    }
    parts = [f'<text class="title" x="{centre:g}" y="22">{title}</text>']
    for name, targets in lines.items():
        for target in sorted(targets):
            (x, y), (u, v) = at[name], at[target]
            y, v = y + _BOX[1] / 2, v - _BOX[1] / 2
            # Around the boxes of rows that the arrow passes.
            aside = 0.62 * _STEP[0] * (1 if u >= x else -1) if v - y > _STEP[1] else 0
            curve = f"M{x:g} {y:g} C{x + aside:g} {y + (v - y) / 3:g} {u + aside:g} {v - (v - y) / 3:g} {u:g} {v:g}"
            parts.append(f'<path class="arrow" d="{curve}"/>')
    for name, (x, y) in at.items():
        parts.append(
            f'<rect x="{x - _BOX[0] / 2:g}" y="{y - _BOX[1] / 2:g}" width="{_BOX[0]}" height="{_BOX[1]}" rx="5"/>'
        )
        shown = name.removeprefix("j2o-")
        parts.append(f'<text x="{x:g}" y="{y:g}">{shown}</text>')
    return parts, left + width, 70 + len(table) * _STEP[1]


def picture() -> str:
    """Both graphs side by side, as SVG."""
    left, middle, high = draw("packages: j2o-…", packages(), 10)
    right, end, tall = draw("folders of j2o-core", stages(), middle + 40)
    size = f"{end + 10:g} {max(high, tall) - 30:g}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">'
    label = "<title>Requirements between the packages of j2o, imports between the folders of j2o-core</title>"
    width, height = size.split()
    ground = f'<path d="M0 0 H{width} V{height} H0 z" fill="#ffffff"/>'
    return "\n".join([head, label, _STYLE, ground, *left, *right, "</svg>", ""])


def main() -> None:
    """Write or check the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    settle(PICTURE, picture(), check=parser.parse_args().check)


if __name__ == "__main__":
    main()
