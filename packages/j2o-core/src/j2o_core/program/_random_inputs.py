"""Random arguments for the specs of an export, at several sizes of its symbolic dimensions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np

from .. import _compat
from .._errors import SpecError
from ..graph._sizes import broken_constraint, evaluate_dimension
from ..trace._inputs import Inputs

_MOST_TRIED = 20_000


def check_sizes(sizes: Any) -> None:
    """Raise a SpecError unless these are sizes for symbolic dimensions."""
    numbers = sizes.values() if isinstance(sizes, Mapping) else sizes
    whole = isinstance(sizes, (Sequence, Mapping)) and all(isinstance(size, (int, np.integer)) for size in numbers)
    if not whole or not sizes or min(numbers) < 0:
        raise SpecError(
            f"sizes is {sizes!r}. Expected integers >= 0 in a sequence, such as sizes=(1, 2, 5), or one for each name: "
            f'sizes={{"B": 3}}.'
        )


def size_runs(symbols: Sequence[str], sizes: Sequence[int]) -> list[dict[str, int]]:
    """Sizes for each run: every symbol gets every size, and different symbols get different ones."""
    if not symbols:
        return [{}]
    return [
        {symbol: sizes[(run + place) % len(sizes)] for place, symbol in enumerate(symbols)} for run in range(len(sizes))
    ]


def fitting_runs(inputs: Inputs, sizes: Sequence[int] | Mapping[str, int]) -> list[dict[str, int]]:
    """Sizes for each run that the constraints allow: of these sizes, or where none fits of those near the constraints.

    Sizes that are given by name are one run.

    Raises:
        SpecError: if none of them fits, or those by name are of other names.
    """
    symbols = inputs.symbols
    if isinstance(sizes, Mapping):
        named = {name: int(size) for name, size in sizes.items()}
        if set(named) != set(symbols):
            names = ", ".join(symbols) or "none"
            raise SpecError(
                f"sizes has {', '.join(named)}; the program's symbolic sizes are {names}. Give one for each."
            )
        if not _fits(inputs, named):
            allowed = ", ".join(_constraints(inputs)) or "no size may be negative"
            raise SpecError(f"sizes is {named}, which the constraints do not allow: {allowed}.")
        return [named]
    runs = [run for run in size_runs(symbols, sizes) if _fits(inputs, run)]
    if runs:
        return runs
    texts = _constraints(inputs)
    numbers = {int(number) for text in texts for number in re.findall(r"\d+", text)}
    near = sorted({*sizes, *numbers, *(number + 1 for number in numbers), 1, 2, 3, 4, 8})
    tried = itertools.islice(itertools.product(near, repeat=len(symbols)), _MOST_TRIED)
    runs = [run for each in tried if _fits(inputs, run := dict(zip(symbols, each, strict=True)))]
    if not runs:
        raise SpecError(
            f"No sizes were found for {', '.join(symbols)} that the constraints allow: {', '.join(texts)}. "
            f"Pass some, sizes=(64, 128), or the arguments themselves."
        )
    return runs[:2]


def _constraints(inputs: Inputs) -> tuple[str, ...]:
    dimensions = [dimension for leaf in inputs.leaves for dimension in leaf.shape if _compat.is_symbolic(dimension)]
    return tuple(_compat.constraint_texts(dimensions[0]))


def _fits(inputs: Inputs, sizes: dict[str, int]) -> bool:
    return all(
        evaluate_dimension(dimension, sizes) >= 0 and broken_constraint(dimension, sizes) is None
        for leaf in inputs.leaves
        for dimension in leaf.shape
    )


def random_leaves(inputs: Inputs, sizes: dict[str, int], seed: int, kind: str = "normal") -> list[Any]:
    """Arguments with these sizes of the symbols: random ones, or one of the other `KINDS`."""
    rng = np.random.default_rng(seed)
    leaves = []
    for leaf in inputs.leaves:
        shape = tuple(evaluate_dimension(dimension, sizes) for dimension in leaf.shape)
        array = random_array(rng, shape, leaf.dtype)
        leaves.append(KINDS[kind](array) if _is_inexact(array) else array)
    return leaves


def _is_inexact(array: Any) -> bool:
    return not _compat.is_key_dtype(array.dtype) and bool(jax.numpy.issubdtype(array.dtype, jax.numpy.inexact))


# Kinds of floats; integers and keys, which may be indices and seeds, are the same in all of them.
KINDS: dict[str, Callable[[Any], Any]] = {
    "normal": lambda array: array,
    "large": lambda array: (array * 100).astype(array.dtype),
    "small": lambda array: (array * 1e-3).astype(array.dtype),
    "zeros": np.zeros_like,
}


def check_kinds(kinds: Any) -> None:
    """Raise a SpecError unless these are kinds of inputs."""
    if not isinstance(kinds, Sequence) or not kinds or not set(kinds) <= KINDS.keys():
        raise SpecError(f"kinds is {kinds!r}. Expected some of {list(KINDS)}.")


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
