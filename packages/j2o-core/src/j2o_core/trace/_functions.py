"""Functions of the file: which calls stay calls, and one trace for all those that are alike.

    for block in self.blocks:
        x = block(x)             # functions=[Block]: twelve equations with one jaxpr, weights among their operands

A chosen call goes through a `jax.jit` of its own, whose operands are all arrays of the module and of the arguments.
JAX's cache gives equal calls the same jaxpr, and `vmap` and `grad` of equal calls too.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import jax

from .. import _compat
from .._errors import SpecError
from ._modules import ModulePaths, bound, calling
from ._names import path_part, unique_names
from ._spec_advice import short

# Begins the name of the jitted function behind a call; its number follows.
_PREFIX = "j2o_function_"
# A function that is one in any case.
_MARK = "__j2o_function__"

_CHOICE = """functions has {given}. Expected a class of modules, a jitted function, or the name of either.
A plain function of your own is marked where it is defined: @j2o_core.function."""
_NO_MATCH = """functions has {name}, but {fn} has no call of it.
Its calls are of the modules {modules}, and of the jitted functions {jitted}."""
_BY_CLASS = "\nA module that the function makes or reaches itself is known by its class only, not by a name."

_Fn = TypeVar("_Fn", bound=Callable[..., Any])


class Callee(NamedTuple):
    """The callee of a call: a name for it, and the names of its operands, empty if they are not known."""

    name: str
    operands: tuple[str, ...]


@jax.tree_util.register_static
class _Structure:
    """The results of a call without their arrays: part of what `jax.jit` remembers of it."""

    def __init__(self, leaves: Sequence[Any], treedef: Any):
        self.static = {index: leaf for index, leaf in enumerate(leaves) if not _compat.is_array(leaf)}
        self._count = len(leaves)
        self._treedef = treedef

    def filled(self, arrays: Sequence[Any]) -> Any:
        """The results with these arrays."""
        rest = iter(arrays)
        leaves = [self.static[i] if i in self.static else next(rest) for i in range(self._count)]
        return jax.tree.unflatten(self._treedef, leaves)


class Functions:
    """The calls of one export that stay calls.

    Args:
        chosen: classes of modules, jitted functions, and names of either.
    """

    def __init__(self, chosen: Sequence[Any] = ()):
        if isinstance(chosen, (str, type)) or not isinstance(chosen, Sequence):
            text = f'"{chosen}"' if isinstance(chosen, str) else _name(chosen)
            raise SpecError(f"functions is {short(chosen)}. Expected a list, such as functions=[{text}].")
        self.classes: list[type] = [one for one in chosen if isinstance(one, type)]
        self._names = [one for one in chosen if isinstance(one, str)]
        self._jitted = [one for one in chosen if not isinstance(one, (type, str)) and not hasattr(one, _MARK)]
        for one in self._jitted:
            if not (callable(one) and hasattr(one, "lower") and hasattr(one, "__wrapped__")):
                raise SpecError(_CHOICE.format(given=short(one)))
        self._used: set[int] = set()
        self._modules: dict[str, None] = {}
        self._kinds: dict[type, None] = {}
        self._calls: dict[str, None] = {}
        self._called: dict[str, None] = {}
        self._traces: dict[Any, Callable[..., Any]] = {}
        self._callees: list[Callee] = []
        self._signatures: dict[Any, inspect.Signature | None] = {}
        self._running: list[Any] = []

    def wants(self, instance: Any) -> bool:
        """Whether a call of a module stays a call: not so for the one inside of it that goes on to the original."""
        if any(instance is one for one in self._running):
            return False
        kind = type(instance)
        self._modules[kind.__name__] = None
        names = (kind.__name__, f"{kind.__module__}.{kind.__qualname__}")
        found: list[Any] = [one for one in self.classes if isinstance(instance, one)]
        found += [one for one in self._names if one in names]
        self._used.update(map(id, found))
        if found:
            self._kinds[kind] = None
        return bool(found)

    def call_module(
        self, paths: ModulePaths, method: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a method of a module, as its class holds it, as a function."""

        def run(copy: Any, *args: Any, **kwargs: Any) -> Any:
            paths.add_copy(copy)
            self._running.append(copy)
            try:
                return bound(method, copy)(*args, **kwargs)
            finally:
                self._running.pop()

        given, names = self._given((method, type(instance)), bound(method, instance), args, kwargs)
        if jax.tree_util.all_leaves([instance]):
            raise SpecError(
                f"functions: {type(instance).__name__} is no pytree, so its weights cannot be arguments of a function. "
                f"Choose another class, or a jitted function that takes the weights."
            )
        return self._call(type(instance).__name__, method, run, [("", instance), *zip(names, given, strict=True)])

    def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of arrays."""
        given, names = self._given(function, function, args, kwargs)
        return self._call(name, function, function, list(zip(names, given, strict=True)))

    def _given(
        self, key: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], list[str]]:
        """The arguments of a call in one order and with defaults, however it was written, and their names."""
        if key not in self._signatures:
            try:
                self._signatures[key] = inspect.signature(function)
            except (TypeError, ValueError):
                self._signatures[key] = None
        try:
            call = self._signatures[key].bind(*args, **kwargs)  # type: ignore[union-attr]  # None has no `bind` either
        except (AttributeError, TypeError):
            return [args, kwargs], ["*args", "**kwargs"]
        call.apply_defaults()
        kind = inspect.Parameter
        marks: dict[Any, str] = {kind.VAR_POSITIONAL: "*", kind.VAR_KEYWORD: "**", kind.KEYWORD_ONLY: "="}
        kinds = {name: parameter.kind for name, parameter in call.signature.parameters.items()}
        return list(call.arguments.values()), [marks.get(kinds[name], "") + name for name in call.arguments]

    def _call(self, name: str, key: Any, run: Callable[..., Any], named: list[tuple[str, Any]]) -> Any:
        """Call `run` on named trees; the leaves of the module itself, whose name is empty, are the last operands."""
        keys, trees = [one for one, _ in named], [tree for _, tree in named]
        flattened: tuple[list[Any], Any] = jax.tree.flatten(trees)
        leaves, treedef = flattened
        owners = [one for one, child in zip(keys, treedef.children(), strict=True) for _ in range(child.num_leaves)]
        static = {i: leaf for i, leaf in enumerate(leaves) if not _compat.is_array(leaf)}
        order = sorted((i for i in range(len(leaves)) if i not in static), key=lambda i: not owners[i])
        if not any(isinstance(leaves[i], _compat.Tracer) for i in order):
            return _spread(run, keys, trees)  # a constant

        def flat(*arrays: Any) -> Any:
            by_place = {**static, **dict(zip(order, arrays, strict=True))}
            again = jax.tree.unflatten(treedef, [by_place[i] for i in range(len(leaves))])
            results, structure = jax.tree.flatten(_spread(run, keys, again))
            return [leaf for leaf in results if _compat.is_array(leaf)], _Structure(results, structure)

        def callee() -> Callee:
            paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(trees)]
            operands = [
                ".".join([*filter(None, [owners[i].lstrip("*=")]), *map(path_part, paths[i][1:])]) for i in order
            ]
            return Callee(name, tuple(unique_names(operands)))

        traced = self._trace(flat, callee, (key, tuple(keys), treedef), static)
        arrays, structure = traced(*(leaves[i] for i in order))
        return structure.filled(arrays)

    def _trace(
        self, flat: Callable[..., Any], callee: Callable[[], Callee], key: Any, static: Mapping[int, Any]
    ) -> Any:
        """`flat` under `jax.jit`; the one of an earlier call that differs in nothing but its arrays."""
        whole: Any = (
            *key,
            tuple((i, type(leaf), str(leaf) if isinstance(leaf, float) else leaf) for i, leaf in static.items()),
        )
        try:
            known = self._traces.get(whole)
        except (TypeError, ValueError):  # something that cannot be hashed or compared, such as an array that is static
            known, whole = None, object()
        if known is None:
            flat.__name__ = flat.__qualname__ = f"{_PREFIX}{len(self._callees)}"
            self._callees.append(callee())
            known = self._traces[whole] = jax.jit(flat)
        return known

    def callee(self, eqn: Any) -> Callee | None:
        """The callee of an equation, None if it is no call that stays one."""
        name = eqn.params.get("name")
        if eqn.primitive.name not in ("jit", "pjit"):
            return None
        if name.startswith(_PREFIX):
            return self._callees[int(name.removeprefix(_PREFIX))]
        self._called[name] = None
        line = _compat.origin(eqn.params["jaxpr"])
        found: list[Any] = [one for one in self._names if one == name]
        found += [one for one in self._jitted if _name(one) == name and line in ("", _line(one))]
        self._used.update(map(id, found))
        if not found:
            return None
        self._calls[name] = None
        operands = [
            re.sub(r"\[(['\"]?)([^\]'\"]*)\1\]", r".\2", one) for one in _compat.operand_names(eqn.params["jaxpr"])
        ]
        return Callee(name, tuple(unique_names(operands)))

    def found(self) -> list[Any]:
        """The choices that another export of the same code finds: classes of modules, and names of functions."""
        return [*self._kinds, *self._calls]

    def check_used(self, fn: str) -> None:
        """Raise a SpecError if one of those that were chosen is never called."""
        for one in (*self.classes, *self._names, *self._jitted):
            if id(one) not in self._used:
                modules, jitted = (", ".join(names) or "none" for names in (self._modules, self._called))
                named = isinstance(one, str)
                text = _NO_MATCH.format(name=repr(one) if named else _name(one), fn=fn, modules=modules, jitted=jitted)
                raise SpecError(text + (_BY_CLASS if named else ""))


@overload
def function(fn: _Fn) -> _Fn: ...
@overload
def function(*, name: str) -> Callable[[_Fn], _Fn]: ...
def function(fn: Any = None, *, name: str | None = None) -> Any:
    """Mark a function as one that an export keeps as a function of the file.

        @j2o_core.function
        def attend(q, k, v): ...

    Outside of an export it does nothing. All calls of the same static arguments, shapes and dtypes are of one function.

    Args:
        fn: a function of arrays and pytrees.
        name: its name in the file, by default its own.
    """
    if fn is None:
        return functools.partial(function, name=name)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        paths = calling()
        if paths is None or paths.functions is None:
            return fn(*args, **kwargs)
        return paths.functions.call(name or fn.__name__, fn, args, kwargs)

    setattr(call, _MARK, True)
    return call


def _spread(run: Callable[..., Any], names: Sequence[str], trees: Sequence[Any]) -> Any:
    """`run` called with trees that `_given` took apart."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, tree in zip(names, trees, strict=True):
        if name.startswith("**"):
            kwargs.update(tree)
        elif name.startswith("*"):
            args.extend(tree)
        elif name.startswith("="):
            kwargs[name[1:]] = tree
        else:
            args.append(tree)
    return run(*args, **kwargs)


def _name(one: Any) -> str:
    return one if isinstance(one, str) else getattr(one, "__name__", short(one))


def _line(jitted: Any) -> str:
    """Where a jitted function is defined, as JAX notes it."""
    code = getattr(inspect.unwrap(jitted), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
