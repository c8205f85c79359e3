"""Pass-throughs that bind composites while an export traces, and are gone after the last trace ends.

A captured function is replaced where it is defined and wherever a loaded module holds the same object, so that
`from jax.nn import gelu` makes no difference. The pass-through calls the original unless the current thread is
inside a `Capture` that binds, so other threads see no change of behaviour.

An interrupt (Ctrl-C, an alarm, a stopped notebook cell) may come at any instruction. So each change is noted before it
is made, undoing it twice is the same as once, and it is undone twice: the second time after an interrupt of the first.
"""

import functools
import operator
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .._compat import ContextOfExport
from ..plugin._composite import Composite
from ._modules import ModuleCall, SourceText

# Modules that import nothing of JAX are half of those that are loaded.
_WITHOUT_JAX = {"flatbuffers", "google", "jaxlib", "ml_dtypes", "numpy", "onnx", "onnx_ir", "onnxruntime", "opt_einsum"}
_PASSED_OVER = frozenset({*sys.stdlib_module_names, *_WITHOUT_JAX, "pygments", "scipy"}) - {"__main__"}
# Modules of installed packages stay as they are once they are imported: they are looked through again only if one has
# another number of names. If somebody puts a captured function in the place of another there, its body is exported.
_INSTALLED = ("site-packages", "dist-packages")
_SETTLED = ("jax.", "j2o_")

_lock = threading.RLock()
_thread = threading.local()
_Replaced = Composite | ModuleCall | SourceText
_installed: dict[_Replaced, "_Installed"] = {}
# Name, module, its names and their values.
_Module = tuple[str, Any, dict[str, Any]]
# All modules the last time, and those of them that are searched.
_loaded: tuple[list[str], list[Any]] = [], []
_searched: list[_Module] = []
# The functions that were looked for the last time, and where: settled modules with how many names each had, the places
# of functions in them, and the other modules.
_functions: dict[int, Any] = {}
_settled: tuple[list[dict[str, Any]], list[int]] = [], []
_known_places: list[tuple[Any, str, int]] = []
_others: list[_Module] = []
_divided: list[_Module] = []  # all of them


class _Held:
    """The lock, taken inside of a block that is entered twice: a `with` on the lock itself may leave without it."""

    def __init__(self) -> None:
        self._nested = _owned()

    def __enter__(self) -> "_Held":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._nested and _owned():
            _lock.release()

    def take(self) -> None:
        if not self._nested:
            _lock.acquire()


def _owned() -> bool:
    return bool(_lock._is_owned())  # type: ignore[attr-defined]  # as `threading.Condition` asks


def _alone(work: Callable[..., Any], *args: Any) -> Any:
    """Call a function while no other thread is in one that is called so."""
    with (lock := _Held()), lock:
        lock.take()
        return work(*args)


class _User:
    """Stands for a `Capture` that may still be ended when it is garbage."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


class _Installed:
    """One function replaced: who wants it, and every place that was changed."""

    def __init__(self, original: Any, replacement: Any, modules: list[str]):
        self.users: set[_User] = set()
        self.original = original
        self.replacement = replacement
        self.complete = False
        self.places: list[tuple[Any, str]] = []
        self.modules = modules  # names of those loaded before; later ones may have imported the replacement


class Capture:
    """Changes that end with the block. `with (capture := Capture()), capture:` enters it twice, so it is left twice."""

    _ended = True

    def __init__(self) -> None:
        self._user = _User()
        self._context: ContextOfExport | None = None
        self._outer: frozenset[Composite] | None = None

    def __enter__(self) -> "Capture":
        return self  # a change here could not be undone if an interrupt kept this method from returning

    def __exit__(self, *_: object) -> None:
        if self._context is not None:
            self._context.leave()
        if self._outer is not None:
            _thread.active = self._outer
        _alone(_uninstall, self._user)
        self._ended = True

    def __del__(self) -> None:
        if not self._ended:  # interrupted both times
            _alone(_uninstall, self._user)

    def install(self, composites: Sequence[Composite]) -> list[Composite]:
        """Put pass-throughs in place: to look through all loaded modules costs milliseconds.

        Returns:
            Those whose functions were found. Nothing is bound until `bind` is called too.
        """
        self._ended = False
        found: list[Composite] = _alone(_install, composites, self._user)
        return found

    def note(self, calls: Sequence[ModuleCall | SourceText]) -> None:
        """Put pass-throughs in the place of the `__call__`s of modules, and of what JAX asks about modules."""
        self._ended = False
        _alone(_install, calls, self._user)

    def bind(self, composites: Sequence[Composite], context: Any) -> None:
        """Bind these composites when their functions are called in this thread.

        Args:
            composites: functions to keep whole.
            context: hashable value that identifies this set of composites in JAX's tracing caches.
        """
        found = self.install(composites)
        outer: frozenset[Composite] = getattr(_thread, "active", frozenset())
        self._outer = outer
        _thread.active = outer | frozenset(found)
        self._context = ContextOfExport()
        self._context.enter(context)


def captured(function: Any) -> Any:
    """The replacement of a function while it is captured; the function itself if it is not.

    A function given by value (`to_onnx(jax.nn.gelu, ...)`) is not looked up anywhere where it could be replaced.
    """
    return _alone(_replacement, function)


def _replacement(function: Any) -> Any:
    for entry in _installed.values():
        if entry.original is function:
            return entry.replacement
    return function


def _install(composites: Sequence[Any], user: _User) -> list[Any]:
    found = []
    fresh: dict[_Replaced, _Installed] = {}
    modules = list(sys.modules)
    for composite in composites:
        entry = _installed.get(composite)
        if entry is None:
            place = composite.locate()
            if place is None:
                continue
            owner, attribute = place
            original = vars(owner)[attribute]
            is_composite = isinstance(composite, Composite)
            replacement = _bound(composite, original) if is_composite else composite.pass_through(original)
            entry = _Installed(original, replacement, modules)
            entry.places.append((owner, attribute))
        entry.users.add(user)
        _installed[composite] = entry
        if not entry.complete:
            fresh[composite] = entry
        found.append(composite)
    # A method is called through its class: nobody holds it elsewhere.
    _find_places({id(entry.original): entry for one, entry in fresh.items() if isinstance(one, Composite)})
    for entry in fresh.values():
        for owner, attribute in entry.places:
            setattr(owner, attribute, entry.replacement)
        entry.complete = True
    return found


def _modules() -> list[_Module]:
    """Modules that may hold a captured function, found anew when others are loaded."""
    global _loaded, _searched
    names, modules = list(sys.modules), list(sys.modules.values())
    if names == _loaded[0] and len(modules) == len(names) and all(map(operator.is_, modules, _loaded[1])):
        return _searched
    items = list(sys.modules.items())
    names, modules = [name for name, _ in items], [module for _, module in items]
    found = [(name, module) for name, module in items if name.partition(".")[0] not in _PASSED_OVER]
    spaces = [(name, module, getattr(module, "__dict__", None)) for name, module in found]
    _searched = [(name, module, space) for name, module, space in spaces if type(space) is dict]
    _loaded = names, modules
    return _searched


def _find_places(fresh: dict[int, _Installed]) -> None:
    """Add every module attribute that is one of the original functions."""
    if not fresh:
        return
    _divide(fresh)
    for module, attribute, key in _known_places:
        entry = fresh.get(key)
        if entry is not None and vars(module).get(attribute) is entry.original:
            _add_place(entry, module, attribute)
    for _, module, namespace in _others:
        for attribute, key in _places_in(namespace, fresh):
            _add_place(fresh[key], module, attribute)


def _add_place(entry: _Installed, module: Any, attribute: str) -> None:
    if (module, attribute) not in entry.places:
        entry.places.append((module, attribute))


def _places_in(namespace: dict[str, Any], fresh: dict[int, _Installed]) -> list[tuple[str, int]]:
    """The names of these functions in a module."""
    if fresh.keys().isdisjoint(map(id, list(namespace.values()))):
        return []
    return [(attribute, id(value)) for attribute, value in list(namespace.items()) if id(value) in fresh]


def _is_settled(name: str, _module: Any, namespace: dict[str, Any]) -> bool:
    file = namespace.get("__file__")
    return name.startswith(_SETTLED) or (isinstance(file, str) and any(place in file for place in _INSTALLED))


def _divide(fresh: dict[int, _Installed]) -> None:
    """Look through the settled modules, if there are others or if one has another number of names."""
    global _functions, _settled, _known_places, _others, _divided
    modules = _modules()
    spaces, lengths = _settled
    if modules is _divided and fresh.keys() <= _functions.keys() and list(map(len, spaces)) == lengths:
        return
    _divided = []  # until the rest is complete: an interrupt may come
    settled = [module for module in modules if _is_settled(*module)]
    _settled = [namespace for _, _, namespace in settled], [len(namespace) for _, _, namespace in settled]
    _known_places = [(module, *place) for _, module, space in settled for place in _places_in(space, fresh)]
    _others = [module for module in modules if not _is_settled(*module)]
    _functions = {key: entry.original for key, entry in fresh.items()}
    _divided = modules


def _uninstall(user: _User) -> None:
    """End a use. Entries without any are restored, those that an interrupt left too."""
    modules = list(sys.modules)
    for composite, entry in list(_installed.items()):
        entry.users.discard(user)
        if not entry.users:
            _restore(entry, modules)
            _installed.pop(composite, None)


def _restore(entry: _Installed, modules: list[str]) -> None:
    for owner, attribute in entry.places:
        # Someone else may have replaced it meanwhile: theirs stays.
        if vars(owner).get(attribute) is entry.replacement:
            setattr(owner, attribute, entry.original)
    for other in _installed.values():  # one that was put on top of this one
        if other.original is entry.replacement:
            other.original = entry.original
    for name in () if modules == entry.modules else set(modules).difference(entry.modules):
        module = sys.modules.get(name)
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is entry.replacement:
                setattr(module, attribute, entry.original)


def _after_fork_in_child() -> None:
    """Of all threads only the one that forked goes on: what the others replaced is restored."""
    _lock.release()
    here = threading.get_ident()
    for entry in _installed.values():
        entry.users = {user for user in entry.users if user.thread == here}
    _uninstall(_User())


if hasattr(os, "register_at_fork"):
    # Held meanwhile, so that no thread is in the middle of a change.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork_in_child)


def _bound(composite: Composite, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        active: frozenset[Composite] = getattr(_thread, "active", frozenset())
        if composite not in active:
            return original(*args, **kwargs)
        # The body is the original: inside it the same function must not be caught again.
        _thread.active = active - {composite}
        try:
            return composite.bind(original, args, kwargs)
        finally:
            _thread.active = active

    return call
