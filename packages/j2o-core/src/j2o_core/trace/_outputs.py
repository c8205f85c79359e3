"""Outputs of a graph: the leaves that a function returned as arrays, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from .. import _compat
from .._errors import SpecError, TraceError
from ._inputs import Inputs
from ._names import check_names, path_part, unique_names
from ._settings import NUMBERS, is_below, settings_below
from ._source import describe
from ._state import PREFIX

_NOT_ARRAY = """{fn} returned {value!r} (of type {type}) at output {where}, which is not an array.
Expected arrays, numbers or a pytree of them. Return only arrays, for example with
lambda *args: [leaf for leaf in jax.tree.leaves(fn(*args)) if hasattr(leaf, "dtype")]."""


@dataclass(frozen=True)
class OutputTree:
    """The structure of a function's result.

    Attributes:
        paths: all leaves with their paths; those that are outputs are None.
        treedef: the structure.
        kept: places of the outputs among the leaves.
    """

    paths: Sequence[tuple[Any, Any]]
    treedef: Any
    kept: Sequence[int]

    def leaves(self, results: Sequence[Any]) -> list[tuple[Any, Any]]:
        """All leaves with their paths, the results in place of the outputs."""
        leaves = list(self.paths)
        for index, value in zip(self.kept, results, strict=True):
            leaves[index] = (leaves[index][0], value)
        return leaves

    def __call__(self, results: Sequence[Any]) -> Any:
        """The function's result."""
        return jax.tree.unflatten(self.treedef, [leaf for _, leaf in self.leaves(results)])


def array_outputs(fn: Callable[..., Any], result: Any, paths: list[tuple[Any, Any]]) -> tuple[list[Any], list[int]]:
    """The leaves of a result that are outputs of the graph: those that `jax.jit` returns as arrays.

    Args:
        fn: the function, for the message.
        result: what it returned.
        paths: the leaves of the result with their paths; those that are outputs are replaced with None.

    Returns:
        The outputs, and their places among the leaves.

    Raises:
        TraceError: if there are none, or a leaf outside of any module is neither array nor number.
    """
    leaves, kept = [], []
    modules = settings_below(result)
    for index, (path, leaf) in enumerate(paths):
        if isinstance(leaf, NUMBERS) and not isinstance(leaf, np.generic) and is_below(path, modules):
            continue
        if _compat.is_array_like(leaf):
            leaves.append(leaf)
            kept.append(index)
            paths[index] = (path, None)  # do not keep tracers alive
        elif not any(isinstance(key, GetAttrKey) for key in path):
            where = jax.tree_util.keystr(path) or "0"
            raise TraceError(_NOT_ARRAY.format(fn=describe(fn), value=leaf, type=type(leaf).__name__, where=where))
    if not kept:
        raise TraceError(
            f"{describe(fn)} returns no array. Expected at least one, an output of the graph: is a return missing?"
        )
    return leaves, kept


def output_names(paths: list[Any], inputs: Inputs, state: Mapping[int, int], chosen: Sequence[str] | None) -> list[str]:
    """State is called after its input, other results as was asked or after their place."""
    rest = [path for index, path in enumerate(paths) if index not in state]
    if chosen:
        check_names("output_names", chosen, [_place_name(path) for path in rest])
        taken = sorted({leaf.name for leaf in inputs.leaves}.intersection(chosen))
        if taken:
            raise SpecError(
                f"output_names has {', '.join(map(repr, taken))}, as inputs are named. Names of a graph differ: choose "
                f"others, or rename the inputs with input_names."
            )
    others = iter(chosen or map(_place_name, rest))
    return unique_names(
        f"{PREFIX}{inputs.leaves[state[index]].name}" if index in state else next(others) for index in range(len(paths))
    )


def _place_name(path: Sequence[Any]) -> str:
    name = ".".join(path_part(key) for key in path)
    if not name:
        return "output"
    return f"output_{name}" if name[:1].isdigit() else name
