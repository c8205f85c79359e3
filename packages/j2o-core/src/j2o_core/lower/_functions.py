"""Functions of the file: the body of a call is lowered once, and every call of it is one node.

The inputs of a function are the operands of the call, weights among them, and the symbolic sizes: one that every call
computed for itself would be computed many times. Those that the body does not read are dropped in the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._kept import WEIGHT_INPUT
from ..graph._ranges import SIZE
from ..graph._values import stamp
from ..trace._names import unique_names
from ._lowered import LoweredFunction


class FunctionTable:
    """The functions of an export, those that others call before them."""

    def __init__(self) -> None:
        self.functions: list[LoweredFunction] = []
        self._by_body: dict[int, tuple[Any, LoweredFunction]] = {}
        self._names: set[str] = set()

    def get(self, body: Any) -> LoweredFunction | None:
        """The function of a body, if it was lowered."""
        known = self._by_body.get(id(body))
        return known[1] if known is not None else None

    def add(self, body: Any, function: LoweredFunction) -> LoweredFunction:
        """Note the function of a body."""
        self.functions.append(function)
        self._by_body[id(body)] = body, function  # the body too, so that its id stays its own
        return function

    def name(self, wanted: str) -> str:
        """A name that no other function has: `Block`, `Block_2`."""
        stem = name = re.sub(r"\W", "_", wanted)
        number = 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name


def input_values(
    body: Any, names: Sequence[str], sizes: Sequence[str], weights: Sequence[bool]
) -> tuple[list[ir.Value], list[ir.Value]]:
    """(the inputs of a body, its sizes) as values of a graph, with names; some are weights."""
    count = len(body.jaxpr.invars)
    known = names if len(names) == count else [f"operand_{index}" for index in range(count)]
    named = [ir.Value(name=name) for name in unique_names([*known, *sizes])]
    inputs, given = named[:count], named[count:]
    for value, var, is_weight in zip(inputs, body.jaxpr.invars, weights, strict=True):
        stamp(value, var.aval.dtype, var.aval.shape)
        if is_weight:
            value.meta[WEIGHT_INPUT] = True
    for value in given:
        stamp(value, np.int64, ())
        value.meta[SIZE] = True
    return inputs, given
