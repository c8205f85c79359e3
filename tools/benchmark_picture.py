"""Write docs/benchmarks.svg: the figures of docs/benchmarks.md that people compare, as bars.

usage: benchmark_picture.py [--check]

--check writes nothing and fails if the picture is not what this would write.
"""

import argparse
import re
from pathlib import Path

from generated import settle

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "benchmarks.svg"

Bars = list[tuple[str, float]]

_WIDTH, _LEFT, _LINE = 640, 190, 26
_STYLE = """<style>
text { font: 14px system-ui, sans-serif; dominant-baseline: central; fill: #1a1a1a }
text.title { font-weight: 600 }
text.name { text-anchor: end }
rect { fill: #b9c0d4 }
rect.ours { fill: #3f51b5 }
rect.page { fill: #ffffff }
</style>"""


def bars(page: str) -> dict[str, Bars]:
    """Figures by title, from the tables of the page."""
    times = _table(page, "## DINOv3-S/16: time of one thread")
    latency = [(_spoken(name), float(row[1])) for name, row in times.items() if not name.startswith("Equimo")]
    nodes = []
    for opset in ("21", "23"):
        row = next(line for line in page.splitlines() if line.startswith(f"| nodes at opset {opset} |"))
        nodes.append((f"j2o, opset {opset}", float(_after("ours", row))))
        for peer in ("torch.onnx", "jax2onnx"):
            if found := re.search(rf"{re.escape(peer)} [\d.]+ (\d+)", row):
                nodes.append((f"{peer}, opset {opset}", float(found[1])))
    return {
        "DINOv3-S/16: latency of one thread, milliseconds": sorted(latency, key=lambda bar: bar[1]),
        "DINOv3-S/16: nodes": sorted(nodes, key=lambda bar: bar[1]),
    }


def _after(word: str, text: str) -> str:
    found = re.search(rf"{word} ([\d.]+)", text)
    assert found is not None
    return found[1]


def _spoken(name: str) -> str:
    *words, opset = name.replace("ours", "j2o").split()
    return f"{words[0]}, opset {opset}"


def _table(page: str, title: str) -> dict[str, list[str]]:
    lines = page.partition(title)[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    return {name: [name, *figures] for name, *figures in rows}


def picture() -> str:
    """The picture as SVG."""
    parts, y = [], 24
    for title, rows in bars(PAGE.read_text(encoding="utf-8")).items():
        parts.append(f'<text class="title" x="16" y="{y}">{title}</text>')
        largest = max(figure for _, figure in rows)
        for name, figure in rows:
            y += _LINE
            width = (_WIDTH - _LEFT - 80) * figure / largest
            ours = ' class="ours"' if name.startswith("j2o") else ""
            parts.append(f'<text class="name" x="{_LEFT - 10}" y="{y}">{name}</text>')
            parts.append(f'<rect{ours} x="{_LEFT}" y="{y - 9}" width="{width:.0f}" height="18" rx="2"/>')
            parts.append(f'<text x="{_LEFT + width + 8:.0f}" y="{y}">{figure:g}</text>')
        y += 2 * _LINE
    height = y - _LINE
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    return "\n".join(
        [head, _STYLE, f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>', *parts, "</svg>", ""]
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    settle(PICTURE, picture(), check=parser.parse_args().check)


if __name__ == "__main__":
    main()
