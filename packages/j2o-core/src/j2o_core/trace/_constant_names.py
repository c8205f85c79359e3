"""Where the arrays of a function come from: module, closure, bound arguments or globals, and the pytree path there."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ._lazy import global_names, is_lazy
from ._memory import memory_place
from ._names import path_part


def constant_names(fn: Callable[..., Any], *, inner: bool = False) -> dict[Any, str]:
    """Names of the arrays that a callable holds, by `id`, for NumPy also by place in memory: variable and pytree path.

    The variable is left out if it is the only one that holds a tree of arrays: a single model's weights have the names
    that they have in the model.

    Args:
        fn: any callable.
        inner: whether globals that only functions inside of others read, such as a lambda for `vmap`, count, too.
    """
    names: dict[Any, str] = {}
    for name, leaf in named_leaves(fn, inner=inner):
        names.setdefault(id(leaf), name)
        if isinstance(leaf, np.ndarray):
            names.setdefault(memory_place(leaf), name)
    return names


def named_leaves(fn: Callable[..., Any], *, inner: bool = False) -> list[tuple[str, Any]]:
    """Each array that a callable holds, under its name; one that lies in two places has two."""
    found: list[tuple[str, str, Any]] = []
    for prefix, value in _holdings(fn, set(), inner=inner):
        try:
            leaves = jax.tree_util.tree_leaves_with_path(value)
        except (ValueError, TypeError, RecursionError, SystemError):
            continue  # a dictionary whose keys cannot be sorted, or a list in itself, is no pytree, and no model either
        for path, leaf in leaves:
            if isinstance(leaf, (jax.Array, np.ndarray)) or is_lazy(leaf):
                found.append((prefix, ".".join(path_part(key) for key in path), leaf))
    trees = {prefix for prefix, path, _ in found if path}
    named = []
    for prefix, inside, leaf in found:
        parts = [inside] if inside and len(trees) == 1 else [part for part in (prefix, inside) if part]
        named.append((".".join(parts) or "constant", leaf))
    return named


def roots(fn: Callable[..., Any]) -> list[tuple[str, Any]]:
    """The trees that a callable holds, by the names that their arrays begin with."""
    held = list(_holdings(fn, set()))
    if not any(prefix for prefix, _ in held):
        return held
    trees = [prefix for prefix, value in held if _is_tree(value)]
    return [("" if len(set(trees)) == 1 and prefix in trees else prefix, value) for prefix, value in held]


def _is_tree(value: Any) -> bool:
    """Whether a value holds arrays below it."""
    try:
        leaves, structure = jax.tree.flatten(value)
    except (ValueError, TypeError, RecursionError, SystemError):
        return False
    below = not jax.tree_util.treedef_is_leaf(structure)
    return below and any(isinstance(leaf, (jax.Array, np.ndarray)) or is_lazy(leaf) for leaf in leaves)


def _holdings(fn: Any, seen: set[int], depth: int = 0, *, inner: bool = False) -> Iterator[tuple[str, Any]]:
    """(name, pytree) of what a callable carries: a module itself, closure cells, bound arguments, used globals."""
    if id(fn) in seen or depth > 8:
        return
    seen.add(id(fn))
    if isinstance(fn, functools.partial):
        for index, value in enumerate(fn.args):
            yield from _held(f"arg_{index}", value, seen, depth, inner)
        for name, value in fn.keywords.items():
            yield from _held(name, value, seen, depth, inner)
        yield from _holdings(fn.func, seen, depth + 1, inner=inner)
        return
    if isinstance(fn, types.MethodType):
        yield from _held("", fn.__self__, seen, depth, inner)
        yield from _holdings(fn.__func__, seen, depth + 1, inner=inner)
        return
    if isinstance(fn, types.FunctionType):
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
            yield from _held("" if name in ("fun", "fn", "f", "func", "self") else name, value, seen, depth, inner)
        for name in dict.fromkeys(global_names(fn.__code__) if inner else fn.__code__.co_names):
            if name in fn.__globals__:
                yield from _held(name, fn.__globals__[name], seen, depth, inner)
        for index, value in enumerate(fn.__defaults__ or ()):
            yield from _held(f"default_{index}", value, seen, depth, inner)
        for name, value in (fn.__kwdefaults__ or {}).items():
            yield from _held(name, value, seen, depth, inner)
        return
    wrapped = getattr(fn, "__wrapped__", None)
    if wrapped is not None and wrapped is not fn:
        yield from _holdings(wrapped, seen, depth + 1, inner=inner)
        return
    if callable(fn) and not isinstance(fn, type):
        yield "", fn


def _held(name: str, value: Any, seen: set[int], depth: int, inner: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)) or hasattr(value, "__wrapped__"):
        yield from _holdings(value, seen, depth + 1, inner=inner)
    elif not isinstance(value, type):
        yield name, value
