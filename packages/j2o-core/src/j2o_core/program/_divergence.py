"""Divergence: where ONNX Runtime and JAX first part, found by running JAX equation by equation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import _compat
from ..trace._lazy import is_lazy
from ..trace._source import user_line
from ._comparison import compare
from ._loop_bodies import steps
from ._model_view import model_view
from ._session import Session, as_fed

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..lower._lowered import Lowered
    from ._record import Exported

_Place = tuple[int, int]  # an equation and one of its results
_BUILDS_UP = "No single equation diverges by itself; the difference builds up."
_FIRST = "The first equation that diverges"
_ONLY_SYMBOLIC = (
    "With these sizes as numbers no equation diverges: the graph computes something else from its symbolic sizes."
)
_LOADED = "Export the function and verify that program to be told the first equation that diverges."
_FOLDED = "No equation is left in the graph: the numbers were computed when the program was exported."


def first_divergence(program: Exported, leaves: Sequence[Any]) -> str:
    """A sentence that names the first equation whose results differ, or says why there is none to name."""
    if program.lowered is None:
        return _LOADED
    try:
        return _diagnosed(program, leaves)
    except Exception as error:  # noqa: BLE001 - the diagnosis must not hide what it diagnoses
        return f"(The first diverging equation could not be found: {type(error).__name__}: {error})"


def _diagnosed(program: Exported, leaves: Sequence[Any]) -> str:
    lowered = program.lowered
    assert lowered is not None
    watched = _watched(lowered, program.model.graph)
    if not watched:
        return _FOLDED
    jaxpr, numbers = lowered.jaxpr, None
    if any(_compat.symbol_names(size) for leaf in program.traced.inputs.leaves for size in leaf.shape):
        inputs = program.traced.inputs
        numbers = _again(program, lambda *arrays: inputs.call(program.fn, arrays), leaves)
        assert numbers.lowered is not None
        jaxpr = numbers.lowered.jaxpr
        if [_named_results(eqn) for eqn in jaxpr.eqns] != [_named_results(eqn) for eqn in lowered.jaxpr.eqns]:
            found = _diagnosed(numbers, leaves)
            return found if found.startswith(_FIRST) else _ONLY_SYMBOLIC
    return _first(program, jaxpr, _results(program.model, watched, leaves), leaves) or _BUILDS_UP


def _named_results(eqn: Any) -> tuple[str, int]:
    return eqn.primitive.name, len(eqn.outvars)


def _again(program: Exported, fn: Callable[..., Any], arrays: Sequence[Any], **options: Any) -> Exported:
    """The export of a function for the shapes of these arrays."""
    assert program.export_again is not None
    specs = [jax.ShapeDtypeStruct(np.shape(array), array.dtype) for array in arrays]
    exported: Exported = program.export_again(fn, specs, **options).exported
    return exported


def _inside(program: Exported, eqn: Any, operands: Sequence[Any]) -> str:
    """The sentence about the first equation that diverges inside of control flow, nothing if none does."""
    copies: dict[int, Exported] = {}
    for step in steps(eqn, operands):
        arrays = [np.asarray(operand) for operand in step.operands]
        copy = copies.get(id(step.body))
        if copy is None:
            copy = copies[id(step.body)] = _again(program, _compat.as_function(step.body), arrays, functions=())
        found = _diagnosed(copy, arrays)
        if found.startswith(_FIRST):
            return f"{found.removesuffix('.')}, in {step.text} at {user_line(eqn, program.registry.libraries)}."
    return ""


def _watched(lowered: Lowered, graph: ir.Graph) -> dict[_Place, ir.Value]:
    """The results of equations that the finished graph still has, in order; those that are its outputs always."""
    made = {value for node in graph for value in node.outputs if value.dtype is not None}
    watched = {
        (index, place): value
        for index, values in enumerate(lowered.values)
        for place, value in enumerate(values)
        if value in made
    }
    places = {
        var: (index, place)
        for index, eqn in enumerate(lowered.jaxpr.jaxpr.eqns)
        for place, var in enumerate(eqn.outvars)
    }
    for var, value in zip(lowered.jaxpr.jaxpr.outvars, graph.outputs, strict=True):
        if not isinstance(var, _compat.Literal) and var in places:
            watched[places[var]] = value
    return dict(sorted(watched.items(), key=lambda item: item[0]))


def _results(model: ir.Model, watched: dict[_Place, ir.Value], leaves: Sequence[Any]) -> dict[_Place, Any]:
    """The values that ONNX Runtime computes at these places."""
    outputs = list(dict.fromkeys(watched.values()))
    results = dict(zip(outputs, Session(model_view(model, outputs=outputs)).run(leaves), strict=True))
    return {place: results[value] for place, value in watched.items()}


def _first(program: Exported, closed: Any, results: dict[_Place, Any], leaves: Sequence[Any]) -> str:
    """The first difference that rounding of the operands does not explain, else the first one at all, else nothing."""
    jaxpr = closed.jaxpr
    consts = [np.asarray(value) if is_lazy(value) else value for value in closed.consts]
    given = [*consts, *map(as_fed, leaves)]
    env = dict(zip(itertools.chain(jaxpr.constvars, jaxpr.invars), given, strict=True))
    faint = ""
    for index, eqn in enumerate(jaxpr.eqns):
        operands = [_compat.literal_value(a) if isinstance(a, _compat.Literal) else env[a] for a in eqn.invars]
        expected = _compat.evaluate(eqn, operands)
        env.update(zip(eqn.outvars, expected, strict=True))
        for place, value in enumerate(expected):
            if (index, place) not in results:
                continue
            want, got = as_fed(value), results[index, place]
            if want.size == got.size:  # pointwise arithmetic may be done in another shape
                got = got.reshape(want.shape)
            problem, _ = compare("", want, got)
            if not problem:
                continue
            text = (_within(program, eqn, operands) or _named(eqn, program.registry.libraries, problem)) + _joined(
                jaxpr.eqns, index, results
            )
            if compare("", want, got, scale=max(map(_magnitude, operands), default=0.0))[0]:
                return text
            faint = faint or text
    return faint


def _within(program: Exported, eqn: Any, operands: Sequence[Any]) -> str:
    try:
        return _inside(program, eqn, operands)
    except Exception:  # noqa: BLE001 - the equation that holds the body is known
        return ""


def _magnitude(operand: Any) -> float:
    """The largest finite magnitude among floats: what a result that cancels has its rounding errors from."""
    array = as_fed(operand)
    if array.dtype.kind in "biu" or array.dtype.name.lstrip("u") in ("int2", "int4"):
        return 0.0
    wide = np.abs(array.astype(np.float64))
    return float(wide.max(initial=0.0, where=np.isfinite(wide)))


def _named(eqn: Any, libraries: tuple[str, ...], problem: str) -> str:
    what = problem.removeprefix("Output ''").strip()
    return f"{_FIRST} is {eqn.primitive.name} at {user_line(eqn, libraries)}: it {what}."


def _joined(eqns: Sequence[Any], index: int, watched: Iterable[_Place]) -> str:
    """The equations before one whose values the graph does not have any more, since rewrites joined them with it."""
    seen = {place[0] for place in watched}
    producers = {var: number for number, eqn in enumerate(eqns) for var in eqn.outvars}
    joined: set[int] = set()
    waiting = [index]
    while waiting:
        for atom in eqns[waiting.pop()].invars:
            number = None if isinstance(atom, _compat.Literal) else producers.get(atom)
            if number is not None and number not in seen | joined:
                joined.add(number)
                waiting.append(number)
    names = dict.fromkeys(eqns[number].primitive.name for number in sorted(joined))
    return f" The graph has no values to compare of {', '.join(names)} before it." if names else ""
