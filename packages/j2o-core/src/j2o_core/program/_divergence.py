"""Divergence: where ONNX Runtime and JAX first part, found by running JAX equation by equation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _compat
from ..trace._source import user_line
from ._comparison import compare
from ._model_view import model_view
from ._session import Session, as_fed

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..lower._lowered import Lowered
    from ..plugin._registry import Registry
    from ._record import Exported

_Place = tuple[int, int]  # an equation and one of its results
_BUILDS_UP = "No single equation diverges by itself; the difference builds up."
_LOADED = "Export the function and verify that program to be told the first equation that diverges."
_FOLDED = "No equation is left in the graph: the numbers were computed when the program was exported."


def first_divergence(program: Exported, leaves: Sequence[Any]) -> str:
    """A sentence that names the first equation whose results differ, or says why there is none to name."""
    if program.lowered is None:
        return _LOADED
    if any(_compat.symbol_names(d) for leaf in program.traced.inputs.leaves for d in leaf.shape):
        return "Verify a static shape to be told the first equation that diverges."
    watched = _watched(program.lowered, program.model.graph)
    if not watched:
        return _FOLDED
    try:
        return _first(program.lowered, program.registry, _results(program.model, watched, leaves), leaves) or _BUILDS_UP
    except Exception as error:  # noqa: BLE001 - the diagnosis must not hide what it diagnoses
        return f"(The first diverging equation could not be found: {type(error).__name__}: {error})"


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


def _first(lowered: Lowered, registry: Registry, results: dict[_Place, Any], leaves: Sequence[Any]) -> str:
    """The first difference that rounding of the operands does not explain, else the first one at all, else nothing."""
    closed = lowered.jaxpr
    jaxpr = closed.jaxpr
    given = [*closed.consts, *map(as_fed, leaves)]
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
            problem, _ = compare("", want, got)
            if not problem:
                continue
            text = _named(eqn, registry.libraries, problem) + _joined(jaxpr.eqns, index, results)
            if compare("", want, got, scale=max(map(_magnitude, operands), default=0.0))[0]:
                return text
            faint = faint or text
    return faint


def _magnitude(operand: Any) -> float:
    """The largest finite magnitude among floats: what a result that cancels has its rounding errors from."""
    array = as_fed(operand)
    if array.dtype.kind in "biu" or array.dtype.name.lstrip("u") in ("int2", "int4"):
        return 0.0
    wide = np.abs(array.astype(np.float64))
    return float(wide.max(initial=0.0, where=np.isfinite(wide)))


def _named(eqn: Any, libraries: tuple[str, ...], problem: str) -> str:
    what = problem.removeprefix("Output ''").strip()
    return f"The first equation that diverges is {eqn.primitive.name} at {user_line(eqn, libraries)}: it {what}."


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
