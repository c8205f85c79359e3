"""One shared table of constants: equal small ones and identical large ones are stored once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..trace._memory import memory_place
from ._values import stamp_fixed

# Constants up to this size are compared by content, larger ones by identity.
_COMPARE_BYTES = 4096


class Constants:
    """Initializer values by content. Names are given when the graph is finished."""

    def __init__(self) -> None:
        self._by_content: dict[Any, ir.Value] = {}
        self._by_place: dict[Any, ir.Value] = {}
        self._arrays: dict[ir.Value, Any] = {}
        self._wide: dict[ir.Value, np.ndarray[Any, Any]] = {}
        self._derived: dict[tuple[ir.Value, str], ir.Value] = {}
        # The bytes of the largest constant or kept weight, and whether any weights are kept.
        self.largest = 0
        self.has_kept = False

    def get(self, array: Any, name: str | None = None, wide: Any = None) -> ir.Value:
        """The value for an array (NumPy or JAX), made on first use.

        Args:
            array: the array.
            name: the name that it asks for.
            wide: what it was rounded from, where that is known.
        """
        plain = np.asarray(array)
        key = (plain.dtype, plain.shape, plain.tobytes()) if plain.nbytes <= _COMPARE_BYTES else None
        if key is not None and key in self._by_content and name is None:
            return self._by_content[key]
        place = memory_place(plain)
        known = self._by_place.get(place)
        if known is not None:
            return known
        value = ir.Value()
        stamp_fixed(value, plain.dtype, plain.shape)
        value.const_value = ir.Tensor(plain, dtype=value.dtype, shape=value.shape)
        if name is not None:
            value.meta["j2o_name"] = name
        if wide is not None:
            self._wide[value] = np.asarray(wide)
        self._arrays[value] = (plain, array, place[0])  # the array too, to keep the memory in use
        self._by_place[place] = value
        self.largest = max(self.largest, plain.nbytes)
        if key is not None:
            self._by_content.setdefault(key, value)
        return value

    def derived(self, source: ir.Value, how: str, make: Callable[[np.ndarray[Any, Any]], Any]) -> ir.Value:
        """A constant made from another one, once for each way `how` it is made."""
        key = (source, how)
        if key not in self._derived:
            hint = self.hint(source)
            self._derived[key] = self.get(make(self._arrays[source][0]), f"{hint}[{how}]" if hint else None)
        return self._derived[key]

    def array(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array behind a constant value, or None for other values."""
        entry = self._arrays.get(value) if value is not None else None
        return None if entry is None else entry[0]

    def address(self, value: ir.Value) -> int | None:
        """Where the first element of a constant lies in memory, None for other values."""
        entry = self._arrays.get(value)
        return None if entry is None else entry[2]

    def wide(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array behind a constant value; in half precision what it was rounded from, None if that is not known."""
        array = self.array(value)
        is_half = array is not None and array.dtype.itemsize == 2 and array.dtype.name in ("float16", "bfloat16")
        return self._wide.get(value) if is_half and value is not None else array

    def forget_wide(self) -> None:
        """Forget what constants were rounded from."""
        self._wide.clear()

    def hint(self, value: ir.Value) -> str | None:
        """The name a constant asked for."""
        return value.meta.get("j2o_name")
