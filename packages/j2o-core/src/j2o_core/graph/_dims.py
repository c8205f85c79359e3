"""Symbolic dimensions as graph values: int64 arithmetic on the shapes of the inputs, in one place."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from .. import _compat
from .._errors import SpecError
from ._builder import Builder, in_graph
from ._sizes import fold_dimension, linear_symbol, may_be_zero


class Dimensions:
    """Where each symbol can be read, and what expressions over symbols are in the graph.

    Args:
        builder: the builder of the main graph; what it adds is visible in all subgraphs.
        sources: the input values with their shapes.
        given: sizes that are values, by their symbols.
    """

    def __init__(
        self,
        builder: Builder,
        sources: Sequence[tuple[ir.Value, tuple[Any, ...]]],
        given: Mapping[str, ir.Value] = MappingProxyType({}),
    ):
        self.builder = builder
        self._given = dict(given)
        self._symbols: dict[str, ir.Value] = dict(given)
        self._places: dict[str, tuple[ir.Value, int, int, int]] = {}
        for value, shape in sources:
            for axis, dimension in enumerate(shape):
                self._note_place(value, axis, dimension)
        names = {name for _, shape in sources for d in shape for name in _compat.symbol_names(d)}
        unsolved = sorted(names - set(self._places))
        if unsolved:
            raise SpecError(
                f"The symbolic dimensions {', '.join(unsolved)} cannot be computed from the inputs' shapes. "
                f'Give at least one input an axis of that size alone, such as "{unsolved[0]}" or "2*{unsolved[0]} + 1".'
            )

    @property
    def names(self) -> list[str]:
        """All symbols."""
        return sorted({*self._symbols, *self._places})

    def forget(self) -> None:
        """Build each size again when it is asked for: the values so far may be in nested graphs now."""
        self._symbols = dict(self._given)
        self.builder.forget()

    def _note_place(self, value: ir.Value, axis: int, dimension: Any) -> None:
        """Remember `coefficient * symbol + offset` read at an axis; the plain symbol is preferred."""
        linear = linear_symbol(dimension)
        if linear is None:
            return
        name, coefficient, offset = linear
        known = self._places.get(name)
        if known is None or (known[2:] != (1, 0) and (coefficient, offset) == (1, 0)):
            self._places[name] = (value, axis, coefficient, offset)

    def scalar(self, dimension: Any) -> ir.Value:
        """An int64 scalar, shape ()."""
        return fold_dimension(dimension, self)

    def vector(self, shape: Sequence[Any]) -> ir.Value:
        """An int64 vector with the sizes of a shape; a constant if none is symbolic."""
        builder = self.builder
        if not any(map(_compat.is_symbolic, shape)):
            return builder.const([int(size) for size in shape], np.int64)
        one = builder.const([1], np.int64)
        parts: list[ir.Value] = []
        for dimension in shape:
            if _compat.is_symbolic(dimension):
                parts.append(builder("Reshape", self.scalar(dimension), one))
            else:
                parts.append(builder.const([int(dimension)], np.int64))
        result = builder("Concat", *parts, axis=0)
        result.meta["j2o_dims"] = tuple(shape)
        return result

    # The interface that `fold_dimension` needs.

    def number(self, value: int) -> ir.Value:
        """A constant."""
        return self.builder.const(value, np.int64)

    def operation(self, name: str, operands: tuple[Any, Any], left: ir.Value, right: ir.Value) -> ir.Value:
        """One or two nodes."""
        builder = self.builder
        if name in ("floordiv", "mod") and may_be_zero(operands[1]):
            right = builder("Max", right, builder.const(1, np.int64))  # of what is empty, and is not looked at
        if name == "floordiv":
            # ONNX divides integers towards zero, JAX's sizes towards minus infinity.
            name, left = "div", builder("Sub", left, builder("Mod", left, right))
        return builder({"div": "Div", "mod": "Mod", "max": "Max", "min": "Min"}[name], left, right)

    def product(self, coefficient: int, factors: list[ir.Value]) -> ir.Value:
        """Mul of all."""
        others = [] if coefficient == 1 else [self.number(coefficient)]
        return functools.reduce(self.builder.Mul, [*factors, *others])

    def total(self, terms: list[ir.Value]) -> ir.Value:
        """Add of all."""
        return functools.reduce(self.builder.Add, terms)

    def symbol(self, name: str) -> ir.Value:
        """The size where it can be read."""
        known = self._symbols.get(name)
        if known is not None and in_graph(known):
            return known
        builder = self.builder
        value, axis, coefficient, offset = self._places[name]
        size = builder("Gather", builder("Shape", value), builder.const(axis, np.int64), axis=0)
        if offset:
            size = builder("Sub", size, builder.const(offset, np.int64))
        if coefficient != 1:
            size = builder("Div", size, builder.const(coefficient, np.int64))
        self._symbols[name] = size
        return size
