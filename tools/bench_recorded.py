"""Ratios that were recorded with an earlier commit: a row of the bench that became 5% worse fails.

`bench_recorded.json` keeps nodes executed once, and ratios of times for each processor, as no two have the same. A row
that is new, or new on a processor, is recorded when it is first measured; `--record` records all again.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

RECORDED = Path(__file__).with_suffix(".json")
WORSE = 1.05


class Ratio(NamedTuple):
    """A ratio of times, the quarters of single rounds, and how many nodes a run executes; 0 if they are not counted."""

    middle: float
    low: float
    high: float
    nodes: int = 0


def worse(found: Mapping[str, Ratio], *, record: bool = False) -> dict[str, str]:
    """By name of a row, what became worse by more than 5%, beyond both spreads.

    Args:
        found: the ratios of now.
        record: take them in the place of what was recorded.
    """
    kept = json.loads(RECORDED.read_text())
    ratios, nodes = kept["ratios"].setdefault(_processor(), {}), kept["nodes"]
    for name, now in found.items():
        if record or name not in ratios:
            ratios[name] = [round(number, 3) for number in now[:3]]
        if now.nodes and (record or name not in nodes):
            nodes[name] = now.nodes
    RECORDED.write_text(_written(kept))
    result = {}
    for name, now in found.items():
        then = Ratio(*ratios[name], nodes.get(name, 0))
        if now.nodes > WORSE * then.nodes:
            result[name] = f"executes {now.nodes:,} nodes, recorded were {then.nodes:,}"
        elif now.low > WORSE * then.middle and now.middle > WORSE * then.high:
            result[name] = f"takes {now.middle:.2f}, recorded was {then.middle:.2f}"
    return result


def _written(kept: Any) -> str:
    """As JSON, with the numbers of a row on its line."""
    return re.sub(r"\[[^\]]*\]", lambda row: " ".join(row[0].split()), json.dumps(kept, indent=1)) + "\n"


def _processor() -> str:
    """The name of this processor, with the numbers that tell it from others of its name."""
    info = Path("/proc/cpuinfo")
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", info.read_text() if info.exists() else "", re.MULTILINE))
    names = [fields[key] for key in ("model name", "cpu family", "model") if key in fields]
    return ", ".join(names) or platform.processor() or platform.machine()
