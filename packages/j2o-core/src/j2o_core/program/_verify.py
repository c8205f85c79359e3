"""Verify: ONNX Runtime against JAX on the same inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from .._errors import J2oError, SpecError, VerifyError
from ..graph._nonfinite import differences
from ..simplify import narrowed
from ..trace._inputs import Inputs
from ..trace._specs import parse_inputs
from ..trace._trace import trace
from ._attention_inputs import attention_cases
from ._call import call_arrays
from ._comparison import TOLERANCES, OutputDifference, compare
from ._random_inputs import KINDS, check_kinds, check_sizes, fitting_runs, random_leaves
from ._reference import Reference
from ._session import Session
from ._ulps import beyond, conditions

_ONE_BY_ONE = "{problem} as XLA compiles it: compared with JAX's operations run one by one, with which it agrees"

_NARROW = "computed in {dtype}: compared with JAX's own dtypes, rtol {rtol:g}, atol {atol:g} of the largest value"


@dataclass(frozen=True)
class Verification:
    """The result of a successful `verify`.

    Attributes:
        outputs: the differences, the worst over all runs.
        runs: the sizes of the symbolic dimensions of each run.
        notes: what has to be said about it: operators that were seen to differ for NaN or infinities, and references
            other than the compiled function.
    """

    outputs: tuple[OutputDifference, ...]
    runs: tuple[dict[str, int], ...]
    notes: tuple[str, ...] = ()

    @property
    def max_abs(self) -> float:
        """Largest absolute difference over all outputs."""
        return max((output.max_abs for output in self.outputs), default=0.0)

    @property
    def relative(self) -> float:
        """Largest difference over the output's largest magnitude, over all outputs."""
        return max((output.relative for output in self.outputs), default=0.0)

    def __str__(self) -> str:
        worst = f"max difference {self.max_abs:.3g}, relative to the largest value {self.relative:.3g}"
        count = f"{len(self.runs)} run{'' if len(self.runs) == 1 else 's'}"
        return "\n".join([f"{count}, {worst}", *(self.table() if len(self.outputs) > 1 else ()), *self.notes])

    def rows(self) -> list[tuple[str, ...]]:
        """The differences of each output in columns, behind their titles."""
        return [
            ("output", "max abs", "max rel", "ulps", "cosine"),
            *(
                (one.name, f"{one.max_abs:.3g}", f"{one.max_rel:.3g}", f"{one.ulps:.3g}", f"{one.cosine:.9f}")
                for one in self.outputs
            ),
        ]

    def table(self) -> list[str]:
        """The rows as lines."""
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return [
            f"  {name:{widths[0]}}"
            + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
            for name, *cells in rows
        ]


@dataclass(frozen=True)
class Sides:
    """The two sides of a comparison: a function of JAX and a session of ONNX Runtime, on the same inputs.

    Attributes:
        reference: JAX's outputs for the graph's inputs.
        model: the model that the session runs.
        session: the session.
        inputs: the specs.
        output_names: names of the outputs, in order.
        diagnose: says where the two first part, for inputs at which they differ.
        in_float64: JAX's outputs where every float is one of 64 bits, None if they cannot be had.
    """

    reference: Reference
    model: ir.Model
    session: Session
    inputs: Inputs
    output_names: Sequence[str]
    diagnose: Callable[[Sequence[Any]], str]
    in_float64: Callable[[Sequence[Any]], list[Any] | None] = lambda leaves: None


def verify(
    sides: Sides,
    args: Sequence[Any],
    *,
    sizes: Sequence[int] | Mapping[str, int],
    seed: int | Sequence[int],
    rtol: float | None,
    atol: float | None,
    ulps: float | None = None,
    kinds: Sequence[str] = ("normal",),
) -> Verification:
    """Compare; see `OnnxProgram.verify`."""
    inputs = sides.inputs
    check_sizes(sizes)
    check_kinds(kinds)
    worst: dict[str, OutputDifference] = {}
    done = []
    cases = list(_given_case(inputs, args) if args else _random_cases(inputs, sizes, seed, kinds))
    notes: dict[str, None] = {}
    narrow = narrowed(sides.model)
    if narrow is not None:
        relative, fraction = TOLERANCES[narrow["dtype"]]
        rtol, atol = relative if rtol is None else rtol, fraction if atol is None else atol
        notes[_NARROW.format(dtype=narrow["dtype"], rtol=rtol, atol=atol)] = None
    for leaves, run, text in cases:
        expected, actual = _expected(sides.reference, leaves), sides.session.run(leaves)
        problem, found = _compared(sides, expected, actual, rtol, atol)
        if problem:
            still, found = _compared(sides, sides.reference.one_by_one(*leaves), actual, rtol, atol)
            if not still:
                notes[_ONE_BY_ONE.format(problem=problem)] = None
                problem = ""
        elif ulps is not None:
            problem = _beyond(sides, leaves, expected, actual, ulps)
        if problem:
            raise VerifyError(f"{problem}{text}.\n{sides.diagnose(leaves)}".rstrip())
        for difference in found:
            known = worst.get(difference.name)
            worst[difference.name] = difference if known is None else known.worse(difference)
        done.append(run)
    if not args:
        notes |= dict.fromkeys(_attention_notes(sides, cases[-1][0], rtol, atol))
    return Verification(tuple(worst.values()), tuple(done), (*notes, *dict.fromkeys(sides.reference.notes)))


_Case = tuple[list[Any], dict[str, int], str]
"""Arguments, the sizes of symbolic dimensions, and both in words for errors."""


def _given_case(inputs: Inputs, args: Sequence[Any]) -> Iterator[_Case]:
    yield call_arrays(inputs.leaves, inputs.flatten(args)), {}, ""


def _random_cases(
    inputs: Inputs, sizes: Sequence[int] | Mapping[str, int], seed: int | Sequence[int], kinds: Sequence[str]
) -> Iterator[_Case]:
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    for run, kind, one in itertools.product(fitting_runs(inputs, sizes), kinds, seeds):
        if one != seeds[0] and KINDS[kind] is np.zeros_like:
            continue
        parts = [f"sizes {run}"] if run else []
        parts += [f"{kind} inputs"] if kind != "normal" else []
        parts += [f"seed {one}"] if len(seeds) > 1 else []
        yield random_leaves(inputs, run, int(one), kind), run, f" with {', '.join(parts)}" if parts else ""


def _compared(
    sides: Sides, expected: Sequence[Any], actual: Sequence[Any], rtol: float | None, atol: float | None
) -> tuple[str, list[OutputDifference]]:
    """(the first problem, or nothing; how far each output is off)."""
    results = [
        compare(name, want, got, rtol, atol)
        for name, want, got in zip(sides.output_names, expected, actual, strict=True)
    ]
    return next((problem for problem, _ in results if problem), ""), [difference for _, difference in results]


def _beyond(sides: Sides, leaves: list[Any], expected: Sequence[Any], actual: Sequence[Any], ulps: float) -> str:
    """The first output that is further from JAX's than so many units in the last place, "" if none is."""
    units = conditions(sides.reference, leaves, expected)
    compared = zip(sides.output_names, expected, actual, units, strict=True)
    for position, (name, want, got, unit) in enumerate(compared):
        if beyond(name, want, got, unit, ulps):
            exact = sides.in_float64(leaves)
            problem = beyond(name, want, got, unit, ulps, None if exact is None else exact[position])
            if problem:
                return problem
    return ""


def _attention_notes(sides: Sides, leaves: list[Any], rtol: float | None, atol: float | None) -> list[str]:
    """Compare with what hides keys of attention, and with hidden keys that are not finite.

    What is finite in JAX where all arguments are has to agree; of the rest, what operators are known to do differs.

    Returns:
        The notes of operators, if some of them were seen to differ.

    Raises:
        VerifyError: if anything else differs.
    """
    known = [f"{difference} ({place})" for difference, place in differences(sides.model)]
    seen = False
    for case in attention_cases(sides.model, leaves):
        expected, actual = sides.reference(*case.leaves), sides.session.run(case.leaves)
        problem, _ = _compared(sides, expected, actual, rtol, atol)
        if problem and known:
            seen = True
            if not case.finite:
                continue
            finite = (
                [_where_finite(want, want) for want in expected],
                [_where_finite(want, got) for want, got in zip(expected, actual, strict=True)],
            )
            problem, _ = _compared(sides, *finite, rtol, atol)
        if problem and _compared(sides, sides.reference.one_by_one(*case.leaves), actual, rtol, atol)[0]:
            raise VerifyError(f"{problem} with {case.text}.\n{sides.diagnose(case.leaves)}".rstrip())
    return known if seen else []


def _where_finite(want: Any, value: Any) -> Any:
    """A value with zeros where the other is not finite."""
    if want.dtype.kind in "biu" or want.shape != value.shape:
        return value
    return np.where(np.isfinite(want.astype(np.float64)), value, np.zeros((), value.dtype))


_CHANGED = "An array that it closes over may have been deleted or donated, or have changed, since the export."
_NO_KERNEL = """Nobody has said what the primitive computes here, so there is nothing to compare with. Give it JAX code:
jax.interpreters.mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))."""


def _expected(reference: Callable[..., list[Any]], leaves: Sequence[Any]) -> list[Any]:
    try:
        return reference(*leaves)
    except J2oError:
        raise
    except Exception as error:
        advice = _NO_KERNEL if "translation rule" in str(error) else _CHANGED
        raise VerifyError(f"JAX cannot run the function itself: {type(error).__name__}: {error}\n{advice}") from error


def verify_model(
    model: ir.Model,
    fn: Callable[..., Any],
    inputs: Any,
    *,
    constraints: Sequence[str] = (),
    sizes: Sequence[int] = (1, 2, 5),
    seed: int | Sequence[int] = 0,
    rtol: float | None = None,
    atol: float | None = None,
    kinds: Sequence[str] = ("normal",),
    progress: Callable[[str], None] | None = None,
) -> Verification:
    """Compare a model, such as one read from a file, with the function that it was made from.

    Args:
        model: the model, its weights in memory.
        fn: the function.
        inputs: one spec per argument, as for `to_onnx`.
        constraints: what is known of symbolic dimensions.
        sizes: sizes to try for symbolic dimensions.
        seed: seed of the random inputs, or several.
        rtol: relative tolerance instead of the dtype's.
        atol: tolerance relative to the largest magnitude of each output, instead of the dtype's.
        kinds: kinds of floats in the inputs.
        progress: called with the name of each stage when it begins.

    Raises:
        SpecError: if the specs do not fit the model.
        TraceError: if JAX cannot trace the function.
        VerifyError: if they disagree.
    """
    begin = progress or (lambda stage: None)
    begin("trace")
    traced = trace(fn, parse_inputs(fn, inputs, constraints=constraints))
    given = {"inputs": len(traced.inputs.leaves), "outputs": len(traced.output_names)}
    for what, values in (("inputs", model.graph.inputs), ("outputs", model.graph.outputs)):
        if len(values) != given[what]:
            names = ", ".join(str(value.name) for value in values)
            raise SpecError(f"The model has {len(values)} {what} ({names}), the function {given[what]} arrays there.")
    begin("verify")
    output_names = [str(value.name) for value in model.graph.outputs]
    reference = Reference(fn, traced.inputs)
    sides = Sides(reference, model, Session(model), traced.inputs, output_names, lambda leaves: "")
    return verify(sides, (), sizes=sizes, seed=seed, rtol=rtol, atol=atol, kinds=kinds)
