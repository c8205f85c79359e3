"""Verify: ONNX Runtime against JAX on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import onnx_ir as ir

from .. import _compat
from .._errors import J2oError, SpecError, VerifyError
from ..trace._outputs import array_outputs
from ..trace._specs import Inputs, parse_inputs
from ..trace._trace import trace
from ._call import call_arrays
from ._comparison import OutputDifference, compare
from ._random_inputs import check_sizes, random_leaves, size_runs
from ._session import Session, as_fed
from ._ulps import beyond, conditions


@dataclass(frozen=True)
class Verification:
    """The result of a successful `verify`.

    Attributes:
        outputs: the differences, the worst over all runs.
        runs: the sizes of the symbolic dimensions of each run.
    """

    outputs: tuple[OutputDifference, ...]
    runs: tuple[dict[str, int], ...]

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
        return f"{len(self.runs)} runs, {worst}"


@dataclass(frozen=True)
class Sides:
    """What is compared: a function of JAX and a session of ONNX Runtime, on the same inputs.

    Attributes:
        reference: JAX's outputs for the graph's inputs.
        session: the session.
        inputs: the specs.
        output_names: names of the outputs, in order.
        diagnose: says where the two first part, for inputs at which they differ.
        in_float64: JAX's outputs where every float is one of 64 bits, None if they cannot be had.
    """

    reference: Callable[..., list[Any]]
    session: Session
    inputs: Inputs
    output_names: Sequence[str]
    diagnose: Callable[[Sequence[Any]], str]
    in_float64: Callable[[Sequence[Any]], list[Any] | None] = lambda leaves: None


def verify(
    sides: Sides,
    args: Sequence[Any],
    *,
    sizes: Sequence[int],
    seed: int,
    rtol: float | None,
    atol: float | None,
    ulps: float | None = None,
) -> Verification:
    """Compare; see `OnnxProgram.verify`."""
    inputs = sides.inputs
    check_sizes(sizes)
    worst: dict[str, OutputDifference] = {}
    done = []
    cases: list[tuple[list[Any], dict[str, int]]]
    if args:
        cases = [(call_arrays(inputs.leaves, inputs.flatten(args)), {})]
    else:
        runs = size_runs(inputs.symbols, sizes)
        cases = [(leaves, run) for run in runs if (leaves := random_leaves(inputs, run, seed)) is not None]
    if not cases:
        raise VerifyError(
            f"No size out of {list(sizes)} satisfies the constraints on {inputs.symbols}; pass sizes=... or arguments."
        )
    for leaves, run in cases:
        expected = _expected(sides.reference, leaves)
        actual = sides.session.run(leaves)
        units = conditions(sides.reference, leaves, expected) if ulps is not None else [None] * len(expected)
        compared = zip(sides.output_names, expected, actual, units, strict=True)
        for position, (name, want, got, unit) in enumerate(compared):
            problem, difference = compare(name, want, got, rtol, atol)
            if not problem and ulps is not None and (problem := beyond(name, want, got, unit, ulps)):
                exact = sides.in_float64(leaves)
                problem = beyond(name, want, got, unit, ulps, None if exact is None else exact[position])
            if problem:
                sizes_text = f" with sizes {run}" if run else ""
                raise VerifyError(f"{problem}{sizes_text}.\n{sides.diagnose(leaves)}".rstrip())
            if name not in worst or difference.relative >= worst[name].relative:
                worst[name] = difference
        done.append(run)
    return Verification(tuple(worst.values()), tuple(done))


def _expected(reference: Callable[..., list[Any]], leaves: Sequence[Any]) -> list[Any]:
    try:
        return reference(*leaves)
    except J2oError:
        raise
    except Exception as error:
        raise VerifyError(
            f"JAX cannot run the function itself any more: {type(error).__name__}: {error}\n"
            f"An array that it closes over may have been deleted or donated, or have changed, since the export."
        ) from error


def verify_model(
    model: ir.Model,
    fn: Callable[..., Any],
    inputs: Any,
    *,
    constraints: Sequence[str] = (),
    sizes: Sequence[int] = (1, 2, 5),
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Verification:
    """Compare a model, such as one read from a file, with the function that it was made from.

    Args:
        model: the model, its weights in memory.
        fn: the function.
        inputs: one spec per argument, as for `to_onnx`.
        constraints: what is known of symbolic dimensions.
        sizes: sizes to try for symbolic dimensions.
        seed: seed of the random inputs.
        rtol: relative tolerance instead of the dtype's.
        atol: tolerance relative to the largest magnitude of each output, instead of the dtype's.
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
    sides = Sides(reference(fn, traced.inputs), Session(model), traced.inputs, output_names, lambda leaves: "")
    return verify(sides, (), sizes=sizes, seed=seed, rtol=rtol, atol=atol)


def reference(fn: Callable[..., Any], inputs: Inputs) -> Callable[..., list[Any]]:
    """The function on the graph's inputs, compiled by JAX, with the graph's outputs as arrays."""

    def flat(*arrays: Any) -> list[Any]:
        typed = [
            _compat.with_weak_type(array) if leaf.weak_type else array
            for leaf, array in zip(inputs.leaves, arrays, strict=True)
        ]
        result = inputs.call(fn, typed)
        return array_outputs(fn, result, jax.tree_util.tree_flatten_with_path(result)[0])[0]

    compiled = jax.jit(flat)

    def run(*arrays: Any) -> list[Any]:
        return [as_fed(value) for value in compiled(*arrays)]

    return run
