"""Weights that are kept: leaves of the model that no stage looks into, and how an initializer lies in its leaf."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ._values import onnx_dtype, stamp

# In the metadata of an initializer.
WEIGHT = "j2o.weight"

# In the metadata of a model: which leaves it has no initializers of, as JSON.
LEAVES = "j2o.leaves"

# In `meta` of a value: a weight whose value no stage looks at.
KEPT = "j2o_kept"

# Operators whose result, for a weight that is kept, is a view of it and stored as such.
STORED_LAYOUTS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice"})

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class KeptWeight:
    """A leaf, and the array of it or of a view of it.

    Attributes:
        leaf: path of the leaf.
        whole: the leaf's array, in C order.
        part: the initializer's.
    """

    leaf: str
    whole: _Array
    part: _Array

    def record(self) -> str:
        """How the elements of the part lie in the leaf, as JSON; of the whole leaf just its path."""
        record: dict[str, Any] = {"leaf": self.leaf}
        if self.part.shape != self.whole.shape or self.part.strides != self.whole.strides:
            size = self.whole.itemsize
            first = self.part.__array_interface__["data"][0] - self.whole.__array_interface__["data"][0]
            record |= {"of": list(self.whole.shape), "first": first // size, "shape": list(self.part.shape)}
            record["strides"] = [stride // size for stride in self.part.strides]
        return json.dumps(record)


def digest(value: Any) -> str:
    """A key that distinguishes arrays: the beginning of the SHA-256 of dtype, shape and content."""
    array = np.asarray(value)
    told = f"{array.dtype}{list(array.shape)}".encode()
    return hashlib.sha256(told + array.tobytes()).hexdigest()[:32]


def is_kept(value: ir.Value | None) -> bool:
    """Whether a value is a weight that is kept, or one in a layout that is stored."""
    while value is not None and KEPT not in value.meta:
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type in STORED_LAYOUTS else None
    return value is not None


def kept_weight(leaf: str, value: Any) -> ir.Value:
    """The value of a leaf in a graph."""
    whole = np.ascontiguousarray(np.asarray(value)).reshape(np.shape(value))
    return value_of(KeptWeight(leaf, whole, whole))


def value_of(weight: KeptWeight) -> ir.Value:
    """The value of a leaf, or of a view of it, in a graph."""
    value = ir.Value(name=None, const_value=ir.Tensor(weight.part, dtype=onnx_dtype(weight.part.dtype)))
    stamp(value, weight.part.dtype, weight.part.shape)
    value.meta[KEPT] = weight
    value.meta["j2o_name"] = weight.leaf
    return value
