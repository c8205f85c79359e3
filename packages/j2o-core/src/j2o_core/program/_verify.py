"""Verify: ONNX Runtime against JAX, and where they first part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np

from .. import _compat
from .._errors import SpecError, VerifyError
from ..graph._sizes import broken_constraint, evaluate_dimension
from ..trace._specs import Inputs, parse_inputs
from ..trace._trace import Traced, array_outputs, trace
from ._call import call_arrays
from ._session import Session, as_fed

if TYPE_CHECKING:
    import onnx_ir as ir

    from ._program import OnnxProgram

# dtype -> (relative tolerance, absolute tolerance as a fraction of the output's largest magnitude).
# Two correct float32 programs differ by a few rounding errors per accumulation; anything else must be equal.
TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-9, 1e-9),
    "float32": (1e-4, 1e-5),
    "float16": (1e-2, 1e-2),
    "bfloat16": (4e-2, 4e-2),
}
_NARROW = (1.3e-1, 1.3e-1)  # float8 and smaller: one rounding step


@dataclass(frozen=True)
class OutputDifference:
    """How far ONNX Runtime is from JAX on one output.

    Attributes:
        name: the output.
        max_abs: largest absolute difference.
        relative: `max_abs` over JAX's largest magnitude.
    """

    name: str
    max_abs: float
    relative: float


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


def verify(program: OnnxProgram, args: Sequence[Any], **options: Any) -> Verification:
    """Compare; see `OnnxProgram.verify`."""

    def diagnose(leaves: Sequence[Any]) -> str:
        from ._divergence import first_divergence

        return first_divergence(program, leaves)

    return _compare_runs(
        program.reference, program.traced, program.session, program.output_names, args, diagnose, **options
    )


def _compare_runs(
    jax_function: Callable[..., list[Any]],
    traced: Traced,
    session: Session,
    output_names: Sequence[str],
    args: Sequence[Any],
    diagnose: Callable[[Sequence[Any]], str],
    *,
    sizes: Sequence[int],
    seed: int,
    rtol: float | None,
    atol: float | None,
) -> Verification:
    inputs = traced.inputs
    worst: dict[str, OutputDifference] = {}
    done = []
    cases: list[tuple[list[Any], dict[str, int]]]
    if args:
        cases = [(call_arrays(inputs.leaves, inputs.flatten(args)), {})]
    else:
        runs = _runs(inputs.symbols, sizes)
        cases = [(leaves, run) for run in runs if (leaves := random_leaves(inputs, run, seed)) is not None]
    if not cases:
        raise VerifyError(
            f"No size out of {list(sizes)} satisfies the constraints on {inputs.symbols}; pass sizes=... or arguments."
        )
    for leaves, run in cases:
        expected = jax_function(*leaves)
        actual = session.run(leaves)
        for name, want, got in zip(output_names, expected, actual, strict=True):
            problem, difference = compare(name, want, got, rtol, atol)
            if problem:
                sizes_text = f" with sizes {run}" if run else ""
                raise VerifyError(f"{problem}{sizes_text}.\n{diagnose(leaves)}".rstrip())
            if name not in worst or difference.relative >= worst[name].relative:
                worst[name] = difference
        done.append(run)
    return Verification(tuple(worst.values()), tuple(done))


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
    return _compare_runs(
        reference(fn, traced.inputs),
        traced,
        Session(model),
        output_names,
        (),
        lambda leaves: "",
        sizes=sizes,
        seed=seed,
        rtol=rtol,
        atol=atol,
    )


def _runs(symbols: Sequence[str], sizes: Sequence[int]) -> list[dict[str, int]]:
    """Sizes for each run: every symbol gets every size, and different symbols get different ones."""
    if not symbols:
        return [{}]
    return [
        {symbol: sizes[(run + place) % len(sizes)] for place, symbol in enumerate(symbols)} for run in range(len(sizes))
    ]


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


def random_leaves(inputs: Inputs, sizes: dict[str, int], seed: int) -> list[Any] | None:
    """Random arguments with these sizes of the symbols, None if a size would be negative or not fit a constraint."""
    rng = np.random.default_rng(seed)
    leaves = []
    for leaf in inputs.leaves:
        shape = []
        for dimension in leaf.shape:
            size = evaluate_dimension(dimension, sizes)
            if size < 0 or broken_constraint(dimension, sizes) is not None:
                return None
            shape.append(size)
        leaves.append(random_array(rng, tuple(shape), leaf.dtype))
    return leaves


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """Random data of a dtype: standard normal floats, small integers, booleans, keys."""
    if _compat.is_key_dtype(dtype):
        keys = jax.random.split(jax.random.key(int(rng.integers(1 << 30))), int(np.prod(shape)))
        return keys.reshape(shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu" or dtype.name in ("int4", "uint4", "int2", "uint2"):
        low = 0 if dtype.kind == "u" or dtype.name.startswith("uint") else -7
        info = ml_dtypes.iinfo(dtype)
        return rng.integers(max(low, int(info.min)), min(8, int(info.max) + 1), shape).astype(dtype)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def compare(
    name: str, want: Any, got: Any, rtol: float | None = None, atol: float | None = None, *, scale: float = 0.0
) -> tuple[str, OutputDifference]:
    """What is wrong with `got` ("" if nothing), and how far it is from `want`.

    Args:
        name: the output's name, for the message.
        want: what JAX gives.
        got: what ONNX Runtime gives.
        rtol: relative tolerance instead of the dtype's.
        atol: tolerance relative to the largest magnitude, instead of the dtype's.
        scale: a largest magnitude to go by where the output's own is smaller.
    """
    want, got = np.asarray(want), np.asarray(got)
    none = OutputDifference(name, 0.0, 0.0)
    if want.dtype != got.dtype or want.shape != got.shape:
        return f"Output {name!r} is {got.dtype}{list(got.shape)}, JAX gives {want.dtype}{list(want.shape)}", none
    if want.size == 0:
        return "", none
    if want.dtype.kind in "biu" or want.dtype.name in ("int4", "uint4", "int2", "uint2"):
        wrong = int((want != got).sum())
        return (f"Output {name!r} differs from JAX in {wrong} of {want.size} elements" if wrong else ""), none
    wide, other = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(wide)
    if not np.array_equal(wide[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return f"Output {name!r} has NaN or infinity at other places than JAX", none
    if not finite.any():
        return "", none
    with np.errstate(over="ignore"):  # float64 of opposite signs near its limit: an infinite difference is right
        difference = np.abs(wide[finite] - other[finite])
    largest = float(np.abs(wide[finite]).max())
    relative, fraction = TOLERANCES.get(want.dtype.name, _NARROW)
    relative, fraction = rtol if rtol is not None else relative, atol if atol is not None else fraction
    result = OutputDifference(name, float(difference.max()), float(difference.max()) / largest if largest else 0.0)
    tiny = float(ml_dtypes.finfo(want.dtype).tiny)
    if (difference > relative * np.abs(wide[finite]) + fraction * max(largest, scale) + tiny).any():
        return (
            f"Output {name!r} differs from JAX by up to {result.max_abs:.3g} "
            f"({result.relative:.3g} of the largest magnitude {largest:.3g})"
        ), result
    return "", result
