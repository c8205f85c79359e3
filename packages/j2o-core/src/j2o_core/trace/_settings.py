"""Settings: leaves of a module that are no arrays, and which of them `jax.jit` would take for arrays all the same."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax

NUMBERS = (bool, int, float, complex)


def settings_below(tree: Any) -> list[tuple[Any, ...]]:
    """Paths of the modules in a tree below which Python numbers are settings.

    Those are Equinox's: its `filter_jit` traces arrays alone, so that a rate of dropout or a flag stays the Python
    value that it is. Below every other class a number is an array, as `jax.jit` has it.
    """
    is_module: Any = functools.cache(_is_module)  # for as long as this takes: classes may go
    paths, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: is_module(type(node)))
    return [path for path, leaf in paths if is_module(type(leaf))]


def is_below(path: Sequence[Any], modules: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a path leads into one of the modules at these paths."""
    return any(tuple(path[: len(module)]) == module for module in modules)


def _is_module(kind: type) -> bool:
    # By name: Equinox may not be installed, and whether its plugin is changes nothing here.
    return any(base.__name__ == "Module" and base.__module__.startswith("equinox.") for base in kind.__mro__)
