"""How programs are narrowed: the dtype, the policies of primitives, and what a model says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

Policy = tuple[str | Callable[[Any], str], str]

# In the metadata of a model: the dtype that its function was narrowed to, and what stayed in float32, as JSON.
NARROWED = "j2o.narrowed"

_UNKNOWN: Policy = ("float32", "no plugin says that it may be narrow")


class Narrowing:
    """How a program is narrowed.

    Attributes:
        dtype: float16 or bfloat16.
        policies: by the name of a primitive or composite, its policy and the reason, as `Plugin.precision` takes them.
        reasons: how often which primitive stayed in float32, and why.
        equations: how many equations of floats are computed in the narrow dtype, and how many in float32.
    """

    def __init__(self, dtype: str, policies: Mapping[str, Policy]):
        self.dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
        self.policies = policies
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.equations = {dtype: 0, "float32": 0}
        self.functions: dict[Any, Any] = {}
        self._casts: dict[tuple[int, int], tuple[Any, Any]] = {}
        info = ml_dtypes.finfo(self.dtype)
        self._largest, self._smallest = float(info.max), float(info.tiny)

    def record(self) -> str:
        """The dtype, and what stayed in float32, as JSON."""
        kept = [[name, why, count] for (name, why), count in self.reasons.most_common()]
        return json.dumps({"dtype": str(self.dtype), "equations": self.equations, "float32": kept})

    def policy(self, eqn: Any) -> tuple[str, str]:
        """The policy of an equation, and the reason for it."""
        policy, why = self.policies.get(eqn.primitive.name, _UNKNOWN)
        return (policy if isinstance(policy, str) else policy(eqn)), why

    def beyond(self, value: Any) -> int:
        """1 if finite numbers of a constant would be infinite, -1 if all lose digits near 0 or vanish, 0 if it fits."""
        array = np.asarray(value)
        if array.size == 0:
            return 0
        low, high = array.min(), array.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = array[np.isfinite(array)]
            low, high = (finite.min(), finite.max()) if finite.size else (np.float32(0), np.float32(0))
        largest = max(abs(float(low)), abs(float(high)))
        return 1 if largest > self._largest else -1 if 0 < largest < self._smallest else 0

    def cast(self, value: Any) -> Any:
        """A constant in the narrow dtype. Views of one array, such as a weight and its transpose, stay views of one."""
        array = np.asarray(value)
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        if base.dtype != array.dtype or base.size > array.size or not base.flags.c_contiguous:
            return array.astype(self.dtype)
        start = base.__array_interface__["data"][0]
        key = start, base.size
        if key not in self._casts:
            self._casts[key] = base.astype(self.dtype).reshape(-1), base
        narrow = self._casts[key][0]
        first = (array.__array_interface__["data"][0] - start) // array.itemsize
        strides = [stride // array.itemsize * narrow.itemsize for stride in array.strides]
        return np.lib.stride_tricks.as_strided(narrow[first:], array.shape, strides, writeable=False)

    def is_exact(self, dtype: np.dtype[Any]) -> bool:
        """Whether all numbers of an integer dtype are numbers of the narrow one."""
        return dtype.kind == "b" or dtype.name in ("int8", "uint8", "int4", "uint4", "int2", "uint2")


def narrowed(model: Any) -> dict[str, Any] | None:
    """The record in a model of the narrow dtype that its function was exported with; None if it has none."""
    record = model.metadata_props.get(NARROWED)
    return None if record is None else json.loads(record)
