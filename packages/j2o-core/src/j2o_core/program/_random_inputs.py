"""Random arguments for the specs of an export, at several sizes of its symbolic dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np

from .. import _compat
from .._errors import SpecError
from ..graph._sizes import broken_constraint, evaluate_dimension
from ..trace._specs import Inputs


def check_sizes(sizes: Any) -> None:
    """Raise a SpecError unless these are sizes for symbolic dimensions."""
    if not isinstance(sizes, Sequence) or not all(isinstance(size, (int, np.integer)) for size in sizes):
        raise SpecError(f"sizes is {sizes!r}. Expected integers in a sequence, such as sizes=(1, 2, 5).")


def size_runs(symbols: Sequence[str], sizes: Sequence[int]) -> list[dict[str, int]]:
    """Sizes for each run: every symbol gets every size, and different symbols get different ones."""
    if not symbols:
        return [{}]
    return [
        {symbol: sizes[(run + place) % len(sizes)] for place, symbol in enumerate(symbols)} for run in range(len(sizes))
    ]


def random_leaves(inputs: Inputs, sizes: dict[str, int], seed: int) -> list[Any] | None:
    """Random arguments with these sizes of the symbols, None if a size would be negative or not fit a constraint."""
    rng = np.random.default_rng(seed)
    leaves = []
    for leaf in inputs.leaves:
        shape = []
        for dimension in leaf.shape:
            size = evaluate_dimension(dimension, sizes)
            if size < 0 or broken_constraint(dimension, sizes) is not None:
                return None
            shape.append(size)
        leaves.append(random_array(rng, tuple(shape), leaf.dtype))
    return leaves


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """Random data of a dtype: standard normal floats, small integers, booleans, keys."""
    if _compat.is_key_dtype(dtype):
        keys = jax.random.split(jax.random.key(int(rng.integers(1 << 30))), int(np.prod(shape)))
        return keys.reshape(shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu" or dtype.name in ("int4", "uint4", "int2", "uint2"):
        low = 0 if dtype.kind == "u" or dtype.name.startswith("uint") else -7
        info = ml_dtypes.iinfo(dtype)
        return rng.integers(max(low, int(info.min)), min(8, int(info.max) + 1), shape).astype(dtype)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
