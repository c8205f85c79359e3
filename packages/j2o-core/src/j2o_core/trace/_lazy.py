"""Weights that are not in memory: leaves of a model that have a shape and a dtype, and numbers later or nowhere.

Such a leaf is an array in a mapped file (`np.memmap`), an object with `shape`, `dtype` and `__array__` (a data set of
HDF5, a record of a file), or a `jax.ShapeDtypeStruct`, which has no numbers. JAX cannot compute with them, and NumPy
would copy them: while a function is traced, arrays take their places.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ._memory import file_map

_OTHERS = (np.generic, jax.Array, type)
# Their globals are no weights.
_LIBRARIES = frozenset({"jax", "numpy", "equinox", "flax"})
_DEEPEST = 8


def is_lazy(leaf: Any) -> bool:
    """Whether a leaf is a weight that is not in memory."""
    if isinstance(leaf, np.ndarray):
        return jax.numpy.issubdtype(leaf.dtype, np.floating) and file_map(leaf) is not None
    if isinstance(leaf, _OTHERS):
        return False
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return False
    if not (has_values(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)):
        return False
    try:
        np.dtype(dtype)
    except TypeError:  # that of keys, or of another library of arrays
        return False
    return all(isinstance(size, int) for size in shape)


def has_values(leaf: Any) -> bool:
    """Whether a weight has numbers, now or when it is read."""
    return hasattr(leaf, "__array__")


def lazy_leaves(fn: Callable[..., Any]) -> list[Any]:
    """The leaves of a callable that are not in memory, each once."""
    found: dict[int, Any] = {}

    def note(leaf: Any) -> Any:
        if is_lazy(leaf):
            found[id(leaf)] = leaf
        return leaf

    map_leaves(note, fn)
    return list(found.values())


def with_arrays(fn: Callable[..., Any], arrays: Mapping[int, Any]) -> Callable[..., Any]:
    """The callable with arrays in the places of leaves, by their `id`; itself if it holds none of them."""
    changed: Callable[..., Any] = map_leaves(lambda leaf: arrays.get(id(leaf), leaf), fn) if arrays else fn
    return changed


def map_leaves(visit: Callable[[Any], Any], held: Any) -> Any:
    """A callable, or what one holds, with other leaves; the same object if none changes.

    The way is that of `named_leaves`: trees, partial arguments, methods, closures, defaults, and globals that the code
    reads. A jitted function is replaced by its code, which the export looks into anyway.
    """
    return _Visitor(visit).inside(held, 0)


class _Visitor:
    """One walk. A function that refers to itself stays as it is there."""

    def __init__(self, visit: Callable[[Any], Any]):
        self._visit = visit
        self._visited: dict[int, Any] = {}

    def inside(self, held: Any, depth: int) -> Any:
        if depth > _DEEPEST or isinstance(held, (types.ModuleType, type)):
            return held
        if id(held) not in self._visited:
            self._visited[id(held)] = held
            self._visited[id(held)] = self._changed(held, depth + 1)
        return self._visited[id(held)]

    def _changed(self, held: Any, depth: int) -> Any:
        if isinstance(held, functools.partial):
            func, args = self.inside(held.func, depth), self._items(held.args, depth)
            keywords = self._values(held.keywords, depth)
            same = func is held.func and args is held.args and keywords is held.keywords
            return held if same else functools.partial(func, *args, **keywords)
        if isinstance(held, types.MethodType):
            func, owner = self.inside(held.__func__, depth), self.inside(held.__self__, depth)
            return held if func is held.__func__ and owner is held.__self__ else types.MethodType(func, owner)
        if isinstance(held, types.FunctionType):
            return self._function(held, depth)
        if _is_jitted(held):
            code = held.__wrapped__
            changed = self.inside(code, depth)
            return held if changed is code else changed
        return self._tree(held, depth)

    def _tree(self, tree: Any, depth: int) -> Any:
        try:
            jax.tree.structure(tree)  # a list in itself: with `is_leaf`, JAX leaves Python's limit of calls used up
            leaves, structure = jax.tree.flatten(tree, is_leaf=_is_jitted)
        except (ValueError, TypeError, RecursionError, SystemError):
            return tree  # no pytree, and no model either
        changed = [self.inside(leaf, depth) if _is_function(leaf) else self._visit(leaf) for leaf in leaves]
        same = all(new is old for new, old in zip(changed, leaves, strict=True))
        return tree if same else jax.tree.unflatten(structure, changed)

    def _function(self, function: types.FunctionType, depth: int) -> types.FunctionType:
        code, scope = function.__code__, function.__globals__
        cells = function.__closure__ or ()
        defaults, keywords = function.__defaults__ or (), function.__kwdefaults__ or {}
        is_library = function.__module__ is None or function.__module__.partition(".")[0] in _LIBRARIES
        read = {} if is_library else {name: scope[name] for name in global_names(code) if name in scope}
        before = cells, defaults, keywords, read
        after = (
            self._cells(cells, depth),
            self._items(defaults, depth),
            self._values(keywords, depth),
            self._values(read, depth),
        )
        if all(new is old for new, old in zip(after, before, strict=True)):
            return function
        cells, defaults, keywords, others = after
        scope = scope if others is read else {**scope, **others}
        changed = types.FunctionType(code, scope, function.__name__, defaults or None, cells or None)
        changed.__kwdefaults__ = keywords or None
        changed.__qualname__, changed.__module__ = function.__qualname__, function.__module__
        changed.__dict__.update(function.__dict__)
        return changed

    def _cells(self, cells: tuple[types.CellType, ...], depth: int) -> tuple[types.CellType, ...]:
        held = tuple(_content(cell) for cell in cells)
        changed = self._items(held, depth)
        if changed is held:
            return cells
        pairs = zip(cells, held, changed, strict=True)
        return tuple(cell if new is old else types.CellType(new) for cell, old, new in pairs)

    def _items(self, items: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
        changed = tuple(self.inside(item, depth) for item in items)
        return items if all(new is old for new, old in zip(changed, items, strict=True)) else changed

    def _values(self, values: dict[str, Any], depth: int) -> dict[str, Any]:
        changed = {name: self.inside(value, depth) for name, value in values.items()}
        return values if all(changed[name] is values[name] for name in values) else changed


def global_names(code: types.CodeType) -> list[str]:
    """The names that code reads from its module, and those that the functions read that it makes."""
    bodies = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return [*code.co_names, *(name for body in bodies for name in global_names(body))]


def _is_jitted(value: Any) -> bool:
    """Whether a value is a function under `jax.jit` or `eqx.filter_jit`."""
    return callable(getattr(type(value), "lower", None)) and hasattr(value, "__wrapped__")


def _is_function(value: Any) -> bool:
    return isinstance(value, (functools.partial, types.MethodType, types.FunctionType)) or _is_jitted(value)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not assigned yet
