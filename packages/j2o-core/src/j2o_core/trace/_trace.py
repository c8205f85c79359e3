"""Trace: a function and its specs become a jaxpr with named constants."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
from jax import dtypes

from .. import _compat
from .._errors import J2oError, TraceError
from ..plugin._composite import Composite
from ..plugin._registry import Registry
from ._capture import Capture, captured
from ._constant_names import constant_names, roots
from ._failure import failure
from ._functions import Functions
from ._inputs import Inputs
from ._lazy import lazy_leaves, with_arrays
from ._modules import ModulePaths, Plan, Remark, calls_of, loaded_classes, noted
from ._names import path_part
from ._outputs import OutputTree, array_outputs
from ._outputs import output_names as _names
from ._settings import NUMBERS
from ._source import describe
from ._state import OutputLeaf, pair_state, state_by_class, states_of


@dataclass(frozen=True)
class Traced:
    """A traced function.

    Attributes:
        jaxpr: the closed jaxpr, its inputs in the order of `inputs.leaves`.
        inputs: the arguments.
        output_names: one per result of the jaxpr.
        output_tree: a function that puts the results back into the function's return value; an `OutputTree` where the
            function was traced.
        constant_names: where constants came from in module or closure, by `id` or place in memory of the array.
        state: indices of inputs whose next values are results, by the indices of those.
        settings: (place, value) of Python numbers in returned modules, which are no results.
        modules: names of the classes of the modules that the function is or closes over.
    """

    jaxpr: Any
    inputs: Inputs
    output_names: tuple[str, ...]
    output_tree: Any
    constant_names: dict[Any, str]
    state: dict[int, int] = field(default_factory=dict)
    settings: tuple[tuple[str, Any], ...] = ()
    modules: tuple[str, ...] = ()


def trace(
    fn: Callable[..., Any],
    inputs: Inputs,
    *,
    composites: Sequence[Composite] = (),
    modules: Sequence[str] = (),
    remarks: Mapping[str, Remark] = MappingProxyType({}),
    keep_weights: bool = False,
    states: Sequence[str] = (),
    plans: Mapping[str, Plan] = MappingProxyType({}),
    context: Any = "j2o",
    functions: Functions | None = None,
    output_names: Sequence[str] | None = None,
    state: Sequence[str] | Mapping[str, int | str] = (),
) -> Traced:
    """Trace `fn` once.

    Args:
        fn: any callable on the arguments that `inputs` describes.
        inputs: parsed specs.
        composites: functions to keep whole.
        modules: dotted paths of classes of modules, whose paths equations get.
        keep_weights: whether every array needs its name, wherever it is read.
        states: dotted paths of classes of arguments that are state without being named in `state`.
        plans: by dotted paths of classes of values that modules are made from, the classes of these modules.
        remarks: by dotted paths of classes of modules, what is to be warned of when an instance is called.
        context: hashable value that identifies this set of composites in JAX's tracing caches.
        functions: which calls stay calls.
        output_names: names for the results that are no state, instead of derived ones.
        state: arguments whose next values are results, as `pair_state` reads it.

    Raises:
        SpecError: if names or state do not fit the results.
        TraceError: if JAX cannot trace the function, or it returns something that is not an array.
    """
    outputs: list[Any] = []
    changed: dict[str, int | str] = {}
    lazy = lazy_leaves(fn)
    paths_of_modules = ModulePaths(modules, remarks, plans, functions)
    capture = Capture()

    def call(held: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        named = [*zip(inputs.parameters, args, strict=True), *kwargs.items()]
        capture.note(
            calls_of([*paths_of_modules.add([*roots(held), *named]), *(functions.classes if functions else ())])
        )
        classes = loaded_classes(states)
        given = states_of(classes, named)
        with noted(paths_of_modules):
            result = captured(held)(*args, **kwargs)
        changed.update(state_by_class(classes, given, result))
        return result

    def flat(*arrays: Any) -> list[Any]:
        weights = dict(zip(map(id, lazy), arrays[len(inputs.leaves) :], strict=True))
        held = with_arrays(fn, weights)
        result = inputs.call(functools.partial(call, held), arrays[: len(inputs.leaves)])
        paths, treedef = jax.tree_util.tree_flatten_with_path(result)
        leaves, kept = array_outputs(fn, result, paths)
        outputs[:] = [paths, treedef, kept]
        return leaves

    structs = [*(leaf.struct for leaf in inputs.leaves), *(_struct(leaf) for leaf in lazy)]
    try:
        with capture, capture:
            capture.bind(composites, context)
            jaxpr = jax.make_jaxpr(flat)(*structs)
    except J2oError:
        raise
    except Exception as error:
        raise failure(fn, inputs, error) from error
    names_of_constants = constant_names(fn, inner=keep_weights or bool(lazy))
    _check_constants(fn, jaxpr, names_of_constants)
    jaxpr = _compat.with_constants(jaxpr, lazy)
    paths, treedef, kept = outputs
    places = [paths[i][0] for i in kept]
    results = [
        OutputLeaf(tuple(map(path_part, place)), aval) for place, aval in zip(places, jaxpr.out_avals, strict=True)
    ]
    settings = [(tuple(map(path_part, path)), leaf) for path, leaf in paths if isinstance(leaf, NUMBERS)]
    pairs = pair_state(state or changed, inputs.leaves, results, [place for place, _ in settings])
    names = _names(places, inputs, pairs, output_names)
    rebuild = OutputTree(paths, treedef, kept)
    classes = tuple(dict.fromkeys(type(root).__name__ for root in paths_of_modules.roots))
    named = tuple((".".join(place), value) for place, value in settings)
    return Traced(jaxpr, inputs, tuple(names), rebuild, names_of_constants, pairs, named, classes)


def _struct(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, dtypes.canonicalize_dtype(leaf.dtype))


def _check_constants(fn: Callable[..., Any], jaxpr: Any, names: dict[Any, str]) -> None:
    """Raise a TraceError if a value that the function closes over cannot be stored in a model."""
    waiting, seen = [jaxpr], set()
    while waiting:
        closed = waiting.pop()
        for value in getattr(closed, "consts", ()):
            if isinstance(value, _compat.Tracer):
                if closed is not jaxpr:  # kept by libraries beside an equation, for its derivative, say
                    continue
                raise TraceError(
                    f"{_closes_over(fn, value, names)}, a value of a surrounding jit, grad or vmap, or one that "
                    f"escaped from it: it has no numbers. Pass it as an argument, or call to_onnx outside."
                )
            if isinstance(value, jax.Array) and value.is_deleted():
                raise TraceError(
                    f"{_closes_over(fn, value, names)}, an array that was deleted or donated: its numbers are gone. "
                    f"Export before that, or copy the array first."
                )
        for eqn in closed.jaxpr.eqns if hasattr(closed, "jaxpr") else closed.eqns:
            for param in eqn.params.values():
                for body in param if isinstance(param, (tuple, list)) else (param,):
                    if hasattr(body, "eqns") and id(body) not in seen:
                        seen.add(id(body))
                        waiting.append(body)


def _closes_over(fn: Callable[..., Any], value: Any, names: dict[Any, str]) -> str:
    return f"{describe(fn)} closes over {names.get(id(value), 'an array')} ({jax.typeof(value).str_short()})"


def trace_code(registry: Registry, fn: Callable[..., Any], *structs: Any) -> tuple[Any, Any]:
    """The jaxpr of ordinary JAX code, with composites kept whole, and the structure of what it returns."""
    with (capture := Capture()), capture:
        capture.bind(registry.composites, registry.context)
        jaxpr, structure = jax.make_jaxpr(fn, return_shape=True)(*structs)
        return jaxpr, structure
