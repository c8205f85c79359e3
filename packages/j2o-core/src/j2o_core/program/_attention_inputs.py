"""Inputs that random numbers do not try: what hides keys of attention, and NaN and infinities in keys that are hidden.

Which inputs of the program mask, and which are keys, is read from the graph: masks are those that the mask of an
Attention is made of, but not its queries, keys or values; keys those that nothing else of it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ..graph._walk import called, model_graphs

_QUERY, _KEY, _VALUE, _MASK = range(4)


@dataclass(frozen=True)
class Case:
    """Arguments, and what is special about them.

    Attributes:
        text: what it is, for a message.
        leaves: the arguments.
        finite: whether what is finite in JAX has to agree: NaN in keys may spread.
    """

    text: str
    leaves: list[Any]
    finite: bool


def attention_cases(model: ir.Model, leaves: Sequence[Any]) -> Iterator[Case]:
    """Changes of one argument each, for every argument that masks attention or is made of keys alone."""
    masks, keys = _roles(model)
    for index, (value, leaf) in enumerate(zip(model.graph.inputs, leaves, strict=True)):
        if not isinstance(leaf, np.ndarray) or leaf.size == 0:
            continue
        changes = _hiding(leaf) if value in masks else _not_finite(leaf) if value in keys else ()
        for text, changed in changes:
            finite = value in masks
            yield Case(f"{text} in {value.name!r}", [*leaves[:index], changed, *leaves[index + 1 :]], finite)


def _roles(model: ir.Model) -> tuple[set[ir.Value], set[ir.Value]]:
    """(inputs that mask, inputs that are keys alone) of all attention in the model."""
    made_of: list[set[ir.Value]] = [set(), set(), set(), set()]
    given = _operands(model)
    for graph in model_graphs(model):
        for node in graph:
            if (node.domain, node.op_type) == ("", "Attention"):
                for place, value in enumerate(node.inputs[:4]):
                    made_of[place] |= _sources(value, given)
    inputs = set(model.graph.inputs)
    masks = made_of[_MASK] - made_of[_QUERY] - made_of[_KEY] - made_of[_VALUE]
    keys = made_of[_KEY] - made_of[_QUERY] - made_of[_VALUE] - made_of[_MASK]
    return masks & inputs, keys & inputs


def _operands(model: ir.Model) -> dict[ir.Value, list[ir.Value | None]]:
    """The operands of all calls for each input of a function."""
    given: dict[ir.Value, list[ir.Value | None]] = {}
    for graph in model_graphs(model):
        for node in graph:
            if (function := called(node, model)) is not None:
                for value, operand in zip(function.inputs, node.inputs, strict=True):
                    given.setdefault(value, []).append(operand)
    return given


def _sources(value: ir.Value | None, given: Mapping[ir.Value, Sequence[ir.Value | None]]) -> set[ir.Value]:
    """The values without producers that a value depends on, those that calls give to inputs of functions."""
    found: set[ir.Value] = set()
    stack, seen = [value], {value}
    while stack:
        one = stack.pop()
        if one is None:
            continue
        node = one.producer()
        if node is None and one not in given:
            found.add(one)
            continue
        new = [operand for operand in (given[one] if node is None else node.inputs) if operand not in seen]
        seen.update(new)
        stack += new
    return found


def _hiding(leaf: Any) -> Iterator[tuple[str, Any]]:
    """The leaf with numbers that hide: everywhere, at the left, and in one row."""
    if leaf.dtype.kind in "biu":
        lows = {"zeros": (np.ones_like(leaf), leaf.dtype.type(0))}
    elif leaf.dtype.kind == "f" or leaf.dtype.name == "bfloat16":
        lowest = ml_dtypes.finfo(leaf.dtype).min
        lows = {
            "the lowest number": (leaf, lowest),
            "minus infinity": (leaf, leaf.dtype.type(-np.inf)),
            "zeros": (np.ones_like(leaf), leaf.dtype.type(0)),
        }
    else:
        return
    for name, (base, low) in lows.items():
        yield f"{name} everywhere", np.full_like(leaf, low)
        if leaf.ndim:
            left, row = base.copy(), base.copy()
            left[..., : -(-leaf.shape[-1] // 2)] = low
            row.reshape(-1, leaf.shape[-1])[0] = low
            yield f"{name} at the left", left
            yield f"{name} in one row", row


def _not_finite(leaf: Any) -> Iterator[tuple[str, Any]]:
    """The leaf with NaN or infinity in its first or last element: those of the first or the last key."""
    if leaf.dtype.kind != "f" and leaf.dtype.name != "bfloat16":
        return
    for number in (np.nan, np.inf):
        for place, text in ((0, "first"), (-1, "last")):
            changed = leaf.copy()
            changed.reshape(-1)[place] = number
            yield f"{'NaN' if np.isnan(number) else 'infinity'} at the {text} place", changed
