"""Nodes without an exact form, and the error that lists them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from ..target import Target
from ..trace._source import SOURCE


@dataclasses.dataclass(frozen=True)
class Problem:
    """A node without a legal form."""

    node: ir.Node
    reason: str

    @property
    def operator(self) -> str:
        """The operator with the element types of its operands: `Cast(float32)`."""
        node = self.node
        dtypes = [value.dtype for value in node.inputs if value is not None] or [v.dtype for v in node.outputs]
        spelled = dict.fromkeys("?" if dtype is None else str(dtype.numpy()) for dtype in dtypes)
        return f"{node.op_type}({', '.join(spelled)})"


def spell(dtypes: Any) -> str:
    """Names of element types, in order."""
    return ", ".join(str(dtype.numpy()) for dtype in sorted(dtypes)) or "nothing"


def message(problems: Sequence[Problem], target: Target, opset: int | None) -> str:
    """All problems, those of one kind on one line; `opset` is the first that has forms of all, if a later one has."""
    count = f"{len(problems)} nodes have" if len(problems) > 1 else "1 node has"
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        place = problem.node.metadata_props.get(SOURCE, "unknown source")
        groups.setdefault((problem.operator, problem.reason), []).append(place)
    lines = [f"{count} no exact form in {target.describe()} at opset {target.opset}."]
    for (operator, reason), places in groups.items():
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        lines.append(f"  {operator}   {'; '.join(places[:3])}{more}")
        lines.append(f"      {reason}")
    ways = [f"export at opset {opset}"] if opset is not None else []
    ways.append("compute these parts in another element type")
    if target.releases:
        ways.append("pass target=None and run the model elsewhere")
    *others, last = ways
    advice = f"{', '.join(others)} or {last}." if others else f"{last}."
    lines.append(advice[0].upper() + advice[1:])
    return "\n".join(lines)
