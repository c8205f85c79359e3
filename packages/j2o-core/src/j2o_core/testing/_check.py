"""`check`: export, ONNX's checker, ONNX Runtime against JAX, and which operators came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import ml_dtypes
import numpy as np
import onnx_ir as ir

from .._export import to_onnx
from ..graph import traits
from ..plugin._plugin import HIGHEST_OPSET, LOWEST_OPSET, Plugin
from ..program._program import OnnxProgram
from ..program._session import Session
from ..program._summary import operator_counts


@dataclass(frozen=True)
class Spec:
    """A shape (symbolic dimensions as strings) and a dtype: one argument of a checked function."""

    shape: tuple[Any, ...]
    dtype: Any = np.float32


class DTYPES:
    """Dtypes by kind, for parametrized tests."""

    floats = (np.float32, np.float16, ml_dtypes.bfloat16)
    signed = (np.int8, np.int16, np.int32)
    unsigned = (np.uint8, np.uint16, np.uint32)
    integers = (*signed, *unsigned)
    wide = (np.float64, np.int64, np.uint64)  # need jax_enable_x64
    numeric = (*floats, *integers)
    all = (*numeric, np.bool_)


def check(
    fn: Callable[..., Any],
    *inputs: Any,
    args: Sequence[Any] | None = None,
    opsets: Iterable[int] = (LOWEST_OPSET, 21, HIGHEST_OPSET),
    contains: Iterable[str] = (),
    absent: Iterable[str] = (),
    sizes: Sequence[int] = (1, 2, 5),
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    ulps: float | None = 4,
    plugins: Sequence[Plugin] | None = None,
    **options: Any,
) -> OnnxProgram:
    """Export `fn` at several opsets, run ONNX's checker, and compare ONNX Runtime with JAX.

    Args:
        fn: the function.
        inputs: one spec per argument; concrete arrays are specs too and are then the values that are run.
        args: values to run instead of random ones; several runs as a list of argument tuples.
        opsets: opsets to export at; the lowest, the default and the highest by default.
        contains: operators that the graph must have at the last opset.
        absent: operators that it must not have there.
        sizes: sizes to try for symbolic dimensions.
        seed: seed of random inputs.
        rtol: relative tolerance instead of the dtype's. Give the reason beside it.
        atol: tolerance as a fraction of the output's largest magnitude, instead of the dtype's.
        ulps: for graphs without sums and products of many numbers (see `program.verify`); None, or a tolerance of
            another kind, leaves it out. Give the reason beside it.
        plugins: plugins to use instead of all installed ones.
        options: passed to `to_onnx`.

    Returns:
        The program at the last opset.
    """
    runs = _runs(inputs, args)
    program: OnnxProgram | None = None
    for opset in opsets:
        before = program
        program = to_onnx(fn, list(inputs), opset=opset, plugins=plugins, **options)
        if before is not None:
            program.reference = before.reference  # JAX compiles the function once
        program.check()
        program.session = Session(program.model, threads=1)  # a pool of threads costs more than a small graph
        precise = ulps if rtol is None and atol is None and _computes_each_by_itself(program.model) else None
        for run in runs:
            program.verify(*run, sizes=sizes, seed=seed, rtol=rtol, atol=atol, ulps=precise)
    assert program is not None, "opsets is empty"
    counts = operator_counts(program.model)
    missing = [op_type for op_type in contains if not counts[op_type]]
    unwanted = [op_type for op_type in absent if counts[op_type]]
    assert not missing, f"operators {missing} are missing; the graph has {dict(counts)}"
    assert not unwanted, f"operators {unwanted} should not be there; the graph has {dict(counts)}"
    return program


# Operators whose results are not the sum of many numbers: the order of summation is a runtime's own.
_PRECISE = frozenset(
    {*traits.POINTWISE, *traits.MOVES, *traits.COUNTS, "Concat", "Constant", "ConstantOfShape", "Range", "Pad", "TopK"}
)

# Kernels of ONNX Runtime 1.32 with a small absolute error and a large relative one, in float32 over [-20, 20]: where
# results are near zero, few of their digits are right. The figures are those of results that 4 units do not cover.
_OF_SMALL_ABSOLUTE_ERROR = {
    "Sigmoid": "34%, below -1, 1e-8 of 1: MLAS has a rational function that is clamped at -18",
    "Swish": "34%, as Sigmoid",
    "Gelu": "26%, below -1: 1 + erf(x) cancels",
    "Elu": "9%, near 0: the kernel computes exp(x) - 1",
    "Selu": "9%, as Elu",
    "Mish": "0.2%, below -80",
    "HardSwish": "0.5%, at -3, where the clamp begins",
}


def _computes_each_by_itself(model: ir.Model) -> bool:
    """Whether no result is a sum, not even of two computed numbers: near zero, few digits of it are known."""
    for node in model.graph:
        if node.op_type not in _PRECISE or node.op_type in _OF_SMALL_ABSOLUTE_ERROR:
            return False
        if node.op_type in ("Add", "Sub") and all(value.const_value is None for value in node.inputs if value):
            return False
    return True


def _runs(inputs: Sequence[Any], args: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    if args is not None:
        return [tuple(args)] if not isinstance(args, list) else [tuple(run) for run in args]
    leaves = jax.tree.leaves(list(inputs), is_leaf=lambda leaf: isinstance(leaf, Spec))
    if leaves and all(isinstance(leaf, (np.ndarray, jax.Array)) for leaf in leaves):
        return [tuple(inputs)]
    return [()]
