"""Which operators take which element types, by ONNX's schemas and by each release of a runtime: the generated tables.

`kernels/RELEASE.json` is written by tools/kernels/make_tables.py, which runs a node for each operator, opset and
combination of element types.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

Types = Mapping[str, ir.DataType]
"""The element type of each type variable of an operator in one node."""

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


@dataclasses.dataclass(frozen=True)
class Release:
    """A release of a runtime, by the name of its table: `onnxruntime-1.32`, `onnxruntime-web`."""

    name: str

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version."""
        return _version(self.name)

    def signature(self, op_type: str, opset: int) -> Signature | None:
        """The operator of the default domain at an opset, or None if there is none."""
        return _signature(self.name, op_type, opset)


@functools.cache
def releases() -> tuple[str, ...]:
    """The names of all tables, the oldest release first and the browser's last."""
    folder = importlib.resources.files(__package__).joinpath("kernels")
    names = [entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")]
    return tuple(sorted(names))


def opsets() -> tuple[int, int]:
    """The first and the last opset that the tables know."""
    first, last = _table(releases()[0])["opsets"]
    return first, last


@functools.cache
def _version(name: str) -> tuple[int, int]:
    major, minor, *_ = _table(name)["runtime"].split()[-1].split(".")
    return int(major), int(minor)


@functools.cache
def _table(name: str) -> dict[str, Any]:
    text = importlib.resources.files(__package__).joinpath("kernels", f"{name}.json").read_text()
    table: dict[str, Any] = json.loads(text)
    return table


@functools.cache
def _signature(name: str, op_type: str, opset: int) -> Signature | None:
    for entry in _table(name)["operators"].get(op_type, ()):
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
