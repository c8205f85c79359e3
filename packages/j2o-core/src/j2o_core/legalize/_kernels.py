"""Which operators take which element types, by ONNX's schemas and by the runtime: the answers of `kernels.json`."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

Types = Mapping[str, ir.DataType]
"""What each type variable of an operator stands for in one node."""

RUNTIME = "onnxruntime"

_BY_NAME = {dtype.short_name(): dtype for dtype in ir.DataType}


@dataclasses.dataclass(frozen=True)
class Box:
    """Element types that run in any combination, for some values of the attributes that matter."""

    types: Mapping[str, frozenset[ir.DataType]]
    attributes: Mapping[str, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Signature:
    """One operator at one opset.

    Attributes:
        inputs: The type variable of each input; a trailing `+` or `*` repeats the last one, `*` with mixed types.
        outputs: The same for the outputs.
        allowed: What ONNX allows for each type variable.
        boxes: What the runtime runs.
        defaults: The attributes that decide what runs, with their defaults.
        checked: Whether the table says anything (not about sequences and strings).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    allowed: Mapping[str, frozenset[ir.DataType]]
    boxes: tuple[Box, ...]
    defaults: Mapping[str, Any]
    checked: bool = True

    def bind(
        self, inputs: Sequence[ir.DataType | None], outputs: Sequence[ir.DataType | None]
    ) -> list[dict[str, ir.DataType]] | None:
        """The type variables of a node, or None if one variable would have to be two types.

        There is more than one binding only where operands of different types share a variable (Loop, Scan, If).
        """
        types: dict[str, ir.DataType] = {}
        mixed: dict[str, set[ir.DataType] | None] = {}
        for slots, dtypes in ((self.inputs, inputs), (self.outputs, outputs)):
            if not slots:
                continue
            last = len(slots) - 1
            for index, dtype in enumerate(dtypes):
                if dtype is None:
                    continue
                slot = slots[min(index, last)]
                if slot[-1] == "*":
                    mixed.setdefault(slot[:-1], set()).add(dtype)  # type: ignore[union-attr]
                elif types.setdefault(slot.rstrip("+"), dtype) is not dtype:
                    return None
        bindings = [types]
        for variable, choices in mixed.items():
            bindings = [{**types, variable: choice} for choice in sorted(choices or ())]
        return bindings

    def allows(self, types: Types) -> bool:
        """Whether ONNX allows these types."""
        return all(dtype in self.allowed[variable] for variable, dtype in types.items())

    def runs(self, types: Types, attribute: Callable[[str, Any], Any]) -> bool:
        """Whether the runtime runs these types; `attribute(name, default)` gives attributes."""
        return any(
            all(dtype in box.types.get(variable, (dtype,)) for variable, dtype in types.items())
            and all(attribute(name, self.defaults[name]) in values for name, values in box.attributes.items())
            for box in self.boxes
        )


@functools.cache
def _table() -> dict[str, Any]:
    text = importlib.resources.files(__package__).joinpath("kernels.json").read_text()
    table: dict[str, Any] = json.loads(text)
    return table


def runtime_version() -> str:
    """The runtime that the table was made with, such as `onnxruntime 1.31.1`."""
    return str(_table()["runtime"])


def opsets() -> tuple[int, int]:
    """The first and the last opset that the table knows."""
    first, last = _table()["opsets"]
    return first, last


@functools.cache
def signature(op_type: str, opset: int) -> Signature | None:
    """The operator of the default domain at an opset, or None if there is none."""
    for entry in _table()["operators"].get(op_type, ()):
        first, last = entry["opsets"]
        if first <= opset <= last:
            return _parse(entry)
    return None


def _parse(entry: dict[str, Any]) -> Signature:
    if "unchecked" in entry:
        return Signature((), (), {}, (), {}, checked=False)
    boxes = []
    for run in entry["runs"]:
        attributes = {name: tuple(values) for name, values in run.get("attrs", {}).items()}
        boxes.append(Box({v: _dtypes(names) for v, names in run.items() if v != "attrs"}, attributes))
    return Signature(
        tuple(entry["in"]),
        tuple(entry["out"]),
        {variable: _dtypes(names) for variable, names in entry["types"].items()},
        tuple(boxes),
        entry.get("defaults", {}),
    )


@functools.cache
def _dtypes(names: str) -> frozenset[ir.DataType]:
    return frozenset(_BY_NAME[name] for name in names.split())


def runnable(
    op_type: str,
    opset: int,
    inputs: Sequence[ir.DataType | None],
    outputs: Sequence[ir.DataType | None] = (),
    *,
    target: str | None = RUNTIME,
    attributes: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a node of the default domain runs as it stands.

    Args:
        op_type: The operator.
        opset: The opset of the model.
        inputs: Element types of the inputs; None where an input is left out or its type does not matter.
        outputs: Element types of the outputs, likewise.
        target: The runtime, or None to ask ONNX's schemas only.
        attributes: The node's attributes, where they matter (`reduction` of ScatterND, `mode` of Resize).
    """
    known = signature(op_type, opset)
    if known is None:
        return False
    if not known.checked:
        return True
    bindings = known.bind(inputs, outputs)
    if bindings is None:
        return False
    given = attributes or {}
    return all(known.allows(types) and (target is None or known.runs(types, given.get)) for types in bindings)
