"""Trace: a function and its specs become a jaxpr with named constants."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from .. import _compat
from .._errors import J2oError, SpecError, TraceError
from ..graph._memory import memory_place
from ..plugin._composite import Composite
from ._capture import Capture, captured
from ._settings import NUMBERS, is_below, settings_below
from ._specs import Inputs, check_names, path_part, unique_names
from ._state import PREFIX, OutputLeaf, pair_state

_NOT_ARRAY = """{fn} returned {value!r} (of type {type}) at output {where}, which is not an array.
Expected arrays, numbers or a pytree of them. Return only arrays, for example with
lambda *args: [leaf for leaf in jax.tree.leaves(fn(*args)) if hasattr(leaf, "dtype")]."""


@dataclass(frozen=True)
class Traced:
    """A traced function.

    Attributes:
        jaxpr: the closed jaxpr, its inputs in the order of `inputs.leaves`.
        inputs: the arguments.
        output_names: one per result of the jaxpr.
        output_tree: what puts the results back into the function's return value.
        constant_names: where constants came from in module or closure, by `id` or place in memory of the array.
        state: indices of inputs whose next values are results, by the indices of those.
        settings: (place, value) of Python numbers in returned modules, which are no results.
    """

    jaxpr: Any
    inputs: Inputs
    output_names: tuple[str, ...]
    output_tree: Callable[[Sequence[Any]], Any]
    constant_names: dict[Any, str]
    state: dict[int, int] = field(default_factory=dict)
    settings: tuple[tuple[str, Any], ...] = ()


def trace(
    fn: Callable[..., Any],
    inputs: Inputs,
    *,
    composites: Sequence[Composite] = (),
    context: Any = "j2o",
    output_names: Sequence[str] | None = None,
    state: Sequence[str] | Mapping[str, int | str] = (),
) -> Traced:
    """Trace `fn` once.

    Args:
        fn: any callable on the arguments that `inputs` describes.
        inputs: parsed specs.
        composites: functions to keep whole.
        context: hashable value that stands for this set of composites in JAX's tracing caches.
        output_names: names for the results that are no state, instead of derived ones.
        state: arguments whose next values are results, as `pair_state` reads it.

    Raises:
        SpecError: if names or state do not fit the results.
        TraceError: if JAX cannot trace the function, or it returns something that is not an array.
    """
    outputs: list[Any] = []

    def flat(*arrays: Any) -> list[Any]:
        result = inputs.call(captured(fn), arrays)
        paths, treedef = jax.tree_util.tree_flatten_with_path(result)
        leaves, kept = array_outputs(fn, result, paths)
        outputs[:] = [paths, treedef, kept]
        return leaves

    structs = [leaf.struct for leaf in inputs.leaves]
    with (capture := Capture()), capture:
        capture.bind(composites, context)
        try:
            jaxpr = jax.make_jaxpr(flat)(*structs)
        except J2oError:
            raise
        except Exception as error:
            raise TraceError(_explain(fn, structs, error)) from error
    paths, treedef, kept = outputs
    places = [paths[i][0] for i in kept]
    results = [
        OutputLeaf(tuple(map(path_part, place)), aval) for place, aval in zip(places, jaxpr.out_avals, strict=True)
    ]
    settings = [(tuple(map(path_part, path)), leaf) for path, leaf in paths if isinstance(leaf, NUMBERS)]
    pairs = pair_state(state, inputs.leaves, results, [place for place, _ in settings])
    names = _output_names(places, inputs, pairs, output_names)
    rebuild = functools.partial(_rebuild, paths, treedef, kept)
    named = tuple((".".join(place), value) for place, value in settings)
    return Traced(jaxpr, inputs, tuple(names), rebuild, constant_names(fn), pairs, named)


def _rebuild(paths: list[tuple[Any, Any]], treedef: Any, kept: list[int], results: Sequence[Any]) -> Any:
    leaves = [leaf for _, leaf in paths]
    for index, value in zip(kept, results, strict=True):
        leaves[index] = value
    return jax.tree.unflatten(treedef, leaves)


def array_outputs(fn: Callable[..., Any], result: Any, paths: list[tuple[Any, Any]]) -> tuple[list[Any], list[int]]:
    """What of a result is an output of the graph: whatever `jax.jit` returns as an array.

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
        raise TraceError(f"{describe(fn)} returns no array. A graph needs at least one output.")
    return leaves, kept


def _output_names(
    paths: list[Any], inputs: Inputs, state: Mapping[int, int], chosen: Sequence[str] | None
) -> list[str]:
    """State is called after its input, other results as was asked or after their place."""
    rest = [path for index, path in enumerate(paths) if index not in state]
    if chosen:
        check_names("output_names", chosen, len(rest))
        taken = sorted({leaf.name for leaf in inputs.leaves}.intersection(chosen))
        if taken:
            raise SpecError(f"output_names has {taken}, which are names of inputs. Names of a graph must differ.")
    others = iter(chosen or map(_place_name, rest))
    return unique_names(
        f"{PREFIX}{inputs.leaves[state[index]].name}" if index in state else next(others) for index in range(len(paths))
    )


def _place_name(path: Sequence[Any]) -> str:
    name = ".".join(path_part(key) for key in path)
    if not name:
        return "output"
    return f"output_{name}" if name[:1].isdigit() else name


def describe(fn: Callable[..., Any]) -> str:
    """A callable's name and where it is defined, for errors."""
    inner = inspect.unwrap(fn) if callable(fn) else fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inner, "__code__", None) or getattr(getattr(inner, "__func__", None), "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__name__)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


def _explain(fn: Callable[..., Any], structs: list[Any], error: Exception) -> str:
    shapes = ", ".join(f"{struct.dtype}{list(struct.shape)}" for struct in structs)
    first = str(error).strip().splitlines()
    reason = "\n".join(first[:12]) if first else ""
    return (
        f"JAX cannot trace {describe(fn)} with inputs ({shapes}).\n{type(error).__name__}: {reason}\n"
        f"What JAX rejects, export rejects: jax.eval_shape(fn, ...) on the same shapes fails alike."
    )


def constant_names(fn: Callable[..., Any]) -> dict[Any, str]:
    """Names of the arrays that a callable holds, by `id`, for NumPy also by place in memory: variable and pytree path.

    The variable is left out if it is the only one that holds a tree of arrays: a single model's weights have the names
    that they have in the model.
    """
    found: list[tuple[str, str, Any]] = []
    for prefix, value in _holdings(fn, set()):
        try:
            leaves = jax.tree_util.tree_leaves_with_path(value)
        except (ValueError, TypeError):  # a dictionary whose keys cannot be sorted is no pytree, and no model either
            continue
        for path, leaf in leaves:
            if isinstance(leaf, (jax.Array, np.ndarray)):
                found.append((prefix, ".".join(path_part(key) for key in path), leaf))
    trees = {prefix for prefix, path, _ in found if path}
    names: dict[Any, str] = {}
    for prefix, inside, leaf in found:
        parts = [inside] if inside and len(trees) == 1 else [part for part in (prefix, inside) if part]
        name = ".".join(parts) or "constant"
        names.setdefault(id(leaf), name)
        if isinstance(leaf, np.ndarray):
            names.setdefault(memory_place(leaf), name)
    return names


def _holdings(fn: Any, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(name, pytree) of what a callable carries: a module itself, closure cells, bound arguments, used globals."""
    if id(fn) in seen or depth > 8:
        return
    seen.add(id(fn))
    if isinstance(fn, functools.partial):
        for index, value in enumerate(fn.args):
            yield from _held(f"arg_{index}", value, seen, depth)
        for name, value in fn.keywords.items():
            yield from _held(name, value, seen, depth)
        yield from _holdings(fn.func, seen, depth + 1)
        return
    if isinstance(fn, types.MethodType):
        yield from _held("", fn.__self__, seen, depth)
        yield from _holdings(fn.__func__, seen, depth + 1)
        return
    if isinstance(fn, types.FunctionType):
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
            yield from _held("" if name in ("fun", "fn", "f", "func", "self") else name, value, seen, depth)
        for name in fn.__code__.co_names:
            if name in fn.__globals__:
                yield from _held(name, fn.__globals__[name], seen, depth)
        for index, value in enumerate(fn.__defaults__ or ()):
            yield from _held(f"default_{index}", value, seen, depth)
        return
    wrapped = getattr(fn, "__wrapped__", None)
    if wrapped is not None and wrapped is not fn:
        yield from _holdings(wrapped, seen, depth + 1)
        return
    if callable(fn) and not isinstance(fn, type):
        yield "", fn


def _held(name: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.ModuleType):
        return
    if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)) or hasattr(value, "__wrapped__"):
        yield from _holdings(value, seen, depth + 1)
    elif not isinstance(value, type):
        yield name, value
