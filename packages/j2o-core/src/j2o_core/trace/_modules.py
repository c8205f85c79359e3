"""Paths of module instances: while an export traces, a module that is called puts its place into JAX's name stack.

    class Block(eqx.Module): ...             # model.blocks[3].attn is called
    name stack of its equations              @.blocks.3/@.attn/eqx.nn.Linear
    module of their nodes                    blocks.3.attn

A scope with a mark is a step: below the module that is being called (`@.attn`), or from the start (`@rope`, a module
that lies elsewhere). A body that JAX traces once and uses again is right for all callers: its steps are below them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import _compat
from .._errors import warn

# In the metadata of a node.
MODULE = "j2o.module"

_MARK = "@"
# The flag of classes that Python code defines.
_CHANGEABLE = 1 << 9
# An einsum's scope is its equation.
_OF_JAX = frozenset({"checkpoint", "rematted_computation"})
_DEEPEST = 32
# JAX's text for what is defined at no line.
_NO_SOURCE = "<unknown>"
# Most fields of modules are of these classes.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, np.ndarray, types.FunctionType})

_thread = threading.local()

# The text of a warning about a call `instance(*args, **kwargs)`, or None.
Remark = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], str | None]


# The classes of the modules that a value describes, that of the whole model first.
Plan = Callable[[Any], Sequence[type]]


class Place(NamedTuple):
    """Where an equation belongs: the path of the module that was being called, and the user's scopes inside of it."""

    path: str
    scopes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.path, *self.scopes) if part)


def place_of(eqn: Any, outer: Place | None, own_scopes: Sequence[str]) -> Place | None:
    """The place of an equation inside of one at `outer`, None if nothing is known.

    Args:
        eqn: the equation.
        outer: the place of the equation whose body it is in.
        own_scopes: how the scopes begin that libraries of modules open themselves, such as `"eqx."`.
    """
    place = outer
    for name in _compat.scopes(eqn):
        path = place.path if place is not None else ""
        if name.startswith(_MARK):
            step = name[len(_MARK) :]
            place = Place(_joined(path, step[1:]) if step.startswith(".") else step)
        elif name not in _OF_JAX and "->" not in name and not name.startswith(tuple(own_scopes)):
            place = Place(path, (*(place.scopes if place is not None else ()), name))
    return place


def _joined(path: str, step: str) -> str:
    return f"{path}.{step}" if path and step else path or step


def common_place(places: Sequence[str]) -> str | None:
    """The module that several nodes have in common; that of the first where it is only the whole model."""
    if not places:
        return None
    split = [place.replace("/", "./").split(".") for place in dict.fromkeys(places)]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common).replace("./", "/") or places[0]


def common_module(metadata: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The entry for the module that nodes with these metadata have in common, nothing where none has one."""
    place = common_place([place for props in metadata if (place := props.get(MODULE)) is not None])
    return {} if place is None else {MODULE: place}


def _loaded(target: str) -> type | None:
    """The class at a dotted path, None if its module has not been imported."""
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def loaded_classes(targets: Sequence[str]) -> tuple[type, ...]:
    """Those of the classes at these dotted paths whose modules have been imported: of others there is no instance."""
    return tuple(found for target in targets if (found := _loaded(target)) is not None)


class ModulePaths:
    """The module instances of a function and of its arguments, and which of them is being called.

    Args:
        targets: dotted paths of the classes of modules.
        remarks: by dotted paths of classes, what is to be warned of when an instance is called.
        plans: by dotted paths of classes of values, which modules are made from them while the function runs.
        functions: the `Functions` that knows which calls stay calls.
    """

    def __init__(
        self,
        targets: Sequence[str],
        remarks: Mapping[str, Remark] = MappingProxyType({}),
        plans: Mapping[str, Plan] = MappingProxyType({}),
        functions: Any = None,
    ):
        self._plans = [(found, fn) for target, fn in plans.items() if (found := _loaded(target)) is not None]
        self._planned: list[Sequence[type]] = []
        self._remarks = [(found, fn) for target, fn in remarks.items() if (found := _loaded(target)) is not None]
        self._remarked: set[str] = set()
        self._bases = loaded_classes(targets)
        self._instances: dict[int, tuple[str, Any]] = {}  # the instance too, so that its id stays its own
        self._called: list[str] = []
        self.roots: list[Any] = []
        self.functions = functions

    def add(self, roots: Sequence[tuple[str, Any]]) -> list[type]:
        """Note the modules in trees by the names of these; returns their classes."""
        if not self._bases:
            return []
        for name, tree in roots:
            if isinstance(tree, self._bases):
                self.roots.append(tree)
            self._walk(name, tree, 0)
        here = [type(instance) for _, instance in self._instances.values()]
        return list(dict.fromkeys([*here, *(kind for plan in self._planned for kind in plan)]))

    def _walk(self, path: str, value: Any, depth: int) -> None:
        if depth > _DEEPEST or id(value) in self._instances:
            return
        for kind, classes in self._plans:
            if isinstance(value, kind):
                self._planned.append([one for one in classes(value) if issubclass(one, self._bases)])
                return
        if isinstance(value, self._bases):  # some have a dtype, as arrays do
            self._instances[id(value)] = path, value
            inside = getattr(value, "__dict__", {}).items()
        elif hasattr(value, "dtype") or isinstance(value, (str, bytes, type)):
            return
        elif isinstance(value, functools.partial):
            inside = {"func": value.func, **value.keywords}.items()
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            inside = zip(value._fields, value, strict=False)
        elif isinstance(value, Mapping):
            inside = value.items()
        elif isinstance(value, Sequence):
            inside = enumerate(value)
        else:
            return
        for name, child in inside:
            if type(child) not in _PLAIN:
                self._walk(_joined(path, str(name)), child, depth + 1)

    def add_copy(self, instance: Any) -> None:
        """Note a copy of the module that is being called, and the modules inside of it."""
        if self._bases and self._called:
            self._walk(self._called[-1], instance, 0)

    def has_no_source(self, fun: Any) -> bool:
        """Whether it is a module around no function of which JAX would find the line."""
        return isinstance(fun, self._bases) and not hasattr(fun, "__code__") and not hasattr(fun, "__wrapped__")

    def remark(self, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Warn of a call, once for each module, if there is something to be said."""
        for kind, about in self._remarks:
            if isinstance(instance, kind) and (text := about(instance, args, kwargs)) is not None:
                message = f"{self._path(instance) or type(instance).__name__} ({type(instance).__name__}): {text}"
                if message not in self._remarked:
                    self._remarked.add(message)
                    warn(message)

    @contextlib.contextmanager
    def entered(self, instance: Any) -> Iterator[None]:
        """While a module is called, equations get its path."""
        path = self._path(instance)
        current = self._called[-1] if self._called else None
        if path is None or path == current:
            yield
            return
        below = current is not None and (not current or path.startswith(f"{current}."))
        scope = f".{path[len(current) :].lstrip('.')}" if below and current is not None else path
        self._called.append(path)
        try:
            with jax.named_scope(_MARK + scope):
                yield
        finally:
            self._called.pop()

    def _path(self, instance: Any) -> str | None:
        entry = self._instances.get(id(instance))
        if entry is not None:
            return entry[0]
        # The copy of a module under jit, vmap or scan: the one of its class below the module that is being called.
        current = self._called[-1] if self._called else ""
        alike = [
            path
            for path, other in list(self._instances.values())
            if type(other) is type(instance) and (path == current or path.startswith(f"{current}." if current else ""))
        ]
        path = _pattern(alike)
        if path is None and not self._called and self._is_made_here(instance):
            path = ""
        if path is not None:
            self._walk(path, instance, 0)
        return path

    def _is_made_here(self, instance: Any) -> bool:
        """Whether a module is the model that the function makes of the only plan that it has."""
        return len(self._planned) == 1 and type(instance) is next(iter(self._planned[0]), None)


def _pattern(paths: Sequence[str]) -> str | None:
    """One path for several: `blocks.*` for `blocks.0` and `blocks.1`, None if they have less in common."""
    found = list(dict.fromkeys(paths))
    if len(found) <= 1:
        return found[0] if found else None
    split = [path.split(".") for path in found]
    if len({len(parts) for parts in split}) != 1:
        return None
    columns = [set(column) for column in zip(*split, strict=True)]
    if any(len(column) > 1 and not all(part.isdecimal() or part == "*" for part in column) for column in columns):
        return None
    return ".".join("*" if len(column) > 1 else next(iter(column)) for column in columns)


class ModuleCall:
    """The `__call__` of a class of modules, to be replaced while an export traces."""

    def __init__(self, owner: type):
        self.owner = owner

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModuleCall) and other.owner is self.owner

    def __hash__(self) -> int:
        return hash(self.owner)

    def locate(self) -> tuple[Any, str] | None:
        """The class and the attribute; None if it is inherited."""
        return (self.owner, "__call__") if "__call__" in vars(self.owner) else None

    def pass_through(self, original: Any) -> Callable[..., Any]:
        """A function that calls the original and, if this thread traces, notes the instance."""

        @functools.wraps(original)
        def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
            method = bound(original, instance)
            paths = calling()
            if paths is None:
                return method(*args, **kwargs)
            paths.remark(instance, args, kwargs)
            with paths.entered(instance):
                if paths.functions is None or not paths.functions.wants(instance):
                    return method(*args, **kwargs)
                return paths.functions.call_module(paths, original, instance, args, kwargs)

        return call


class SourceText:
    """JAX's function that says where a function is defined, to be replaced while an export traces.

    Of a module, JAX makes the whole text of its `repr`, up to a third of the time of tracing, to find no name in it.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceText)

    def __hash__(self) -> int:
        return hash(SourceText)

    def locate(self) -> tuple[Any, str] | None:
        """The module and the attribute; None if JAX has it elsewhere."""
        return _compat.SOURCE_TEXT

    def pass_through(self, original: Any) -> Callable[..., Any]:
        """A function that calls the original but for modules that wrap no function, if this thread traces."""

        @functools.wraps(original)
        def call(fun: Any) -> Any:
            paths = calling()
            return _NO_SOURCE if paths is not None and paths.has_no_source(fun) else original(fun)

        return call


def bound(function: Any, instance: Any) -> Callable[..., Any]:
    """The method of an instance for the attribute of its class."""
    method: Callable[..., Any] = (
        function.__get__(instance, type(instance)) if hasattr(function, "__get__") else function
    )
    return method


def calling() -> ModulePaths | None:
    """The module paths of the export that traces in this thread."""
    return getattr(_thread, "paths", None)


def calls_of(classes: Sequence[type]) -> list[ModuleCall | SourceText]:
    """The `__call__`s of classes and of those that they inherit from, and what JAX asks about their instances."""
    owners = dict.fromkeys(owner for one in classes for owner in one.__mro__)
    calls = [ModuleCall(owner) for owner in owners if "__call__" in vars(owner) and owner.__flags__ & _CHANGEABLE]
    return [*calls, SourceText()] if calls else []


@contextlib.contextmanager
def noted(paths: ModulePaths) -> Iterator[None]:
    """Modules that this thread calls note their paths."""
    outer = getattr(_thread, "paths", None)
    _thread.paths = paths
    try:
        yield
    finally:
        _thread.paths = outer
