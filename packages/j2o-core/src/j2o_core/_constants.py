"""One shared table of constants: equal small ones and identical large ones are stored once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ._values import onnx_dtype, stamp

# Constants up to this size are compared by content, larger ones by identity.
_COMPARE_BYTES = 4096


class Constants:
    """Initializer values by content. Names are given when the graph is finished."""

    def __init__(self) -> None:
        self._by_content: dict[Any, ir.Value] = {}
        self._by_identity: dict[int, ir.Value] = {}
        self._arrays: dict[ir.Value, Any] = {}

    def get(self, array: Any, name: str | None = None) -> ir.Value:
        """The value for an array (NumPy or JAX), made on first use."""
        known = self._by_identity.get(id(array))
        if known is not None:
            return known
        plain = np.asarray(array)
        key = (plain.dtype, plain.shape, plain.tobytes()) if plain.nbytes <= _COMPARE_BYTES else None
        if key is not None and key in self._by_content and name is None:
            return self._by_content[key]
        value = ir.Value(name=None, const_value=ir.Tensor(plain, dtype=onnx_dtype(plain.dtype)))
        stamp(value, plain.dtype, plain.shape)
        if name is not None:
            value.meta["j2o_name"] = name
        self._arrays[value] = (plain, array)  # also keeps the id in use
        self._by_identity[id(array)] = value
        if key is not None:
            self._by_content.setdefault(key, value)
        return value

    def array(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The array behind a constant value, or None for other values."""
        entry = self._arrays.get(value) if value is not None else None
        return None if entry is None else entry[0]

    def hint(self, value: ir.Value) -> str | None:
        """The name a constant asked for."""
        return value.meta.get("j2o_name")
