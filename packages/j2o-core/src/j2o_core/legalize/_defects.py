"""Kernels of ONNX Runtime (CPU) that run and give a wrong result, and what stands in for them.

Each was measured with onnxruntime 1.31.1. tests/legalize/test_defects.py runs them as they are and expects them
to fail: an entry whose test passes on all processors can go.

    ReduceSum, Einsum       integers      summed in float64: wrong above 2^53, saturates where it has to wrap
    ReduceProd              integers      the same
    Mod (fmod=1)            64-bit        computed in float64
    Max, Min, Clip, Relu,   int64         two numbers that agree in their upper 32 bits are ordered by the lower 32 as
      Sign, ReduceMax/Min                 if those had a sign: max(3, 3e9) is 3
    ReduceMax/Min           floats        NaN is lost unless it comes first
    LogSoftmax              float64       a row with NaN or infinity is not NaN as a whole
    MaxPool, Scatter with   floats        NaN is lost
      max and min
    MaxPool                 float32       minus infinity everywhere becomes the lowest number
    Sign                    16-bit float  NaN becomes 0 (the table says that it does not run, so float32 is used)
    Reduce...               empty         negative axes are not reduced; of bool: fails
    MatMul                  empty         with nothing to sum, some products of floats are memory as it was found;
                                          those of uint32/64, and those of vectors with empty batches, fail
    Div                     int32, int64  (1 / y) * z is merged into z / y
    MatMul                  floats        of a transposed matrix and a vector: the transpose is lost
    Mul, Div                float64       by a number, next to a MatMul: merged into it with the number as float32
    Mul                     behind Conv   by constants: merged into the weights, which may overflow where no result does
    Cast, Equal, Less, ...  float16       what computes float16 is done in float32: the rounding before, or that of a
                                          cast to float16, is left out
    Cast                    chains        float -> wide integer -> narrow integer becomes one undefined conversion;
                                          float -> bfloat16 -> int8 skips the rounding
    Cast                    to float8     what rounds to more than the largest value does not become NaN or infinity
    Cast                    from float8   -0 becomes True
    Cast                    to 4 bits     floats are rounded, where they are truncated to all other integers
    Where                   floats        of -0 that the condition chooses becomes 0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from . import (
    _cast_defects,
    _empty_defects,
    _half_defects,
    _order_defects,
    _quotient_defects,
    _scale_defects,
    _sum_defects,
    _transpose_defects,
    _zero_defects,
)
from ._composer import Composer

StandIn = Callable[[Composer, ir.Node], "Sequence[ir.Value] | None"]
"""Writes the node with others, or returns None if the kernel is right for it."""


def _either(*stand_ins: StandIn) -> StandIn:
    """The first that has something to say."""

    def either(c: Composer, node: ir.Node) -> Sequence[ir.Value] | None:
        return next((values for stand_in in stand_ins if (values := stand_in(c, node)) is not None), None)

    return either


DEFECTS: Mapping[str, StandIn] = {
    "Cast": _either(_cast_defects.cast, _half_defects.widened, _half_defects.narrowed),
    "Clip": _order_defects.clip,
    "Div": _either(_scale_defects.scale, _quotient_defects.reciprocal),
    "Einsum": _sum_defects.einsum,
    "GlobalMaxPool": _order_defects.max_pool,
    "LogSoftmax": _order_defects.log_softmax,
    "MatMul": _either(_empty_defects.matmul, _transpose_defects.matmul),
    "Max": _order_defects.extreme,
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _half_defects.compared),
    "MaxPool": _order_defects.max_pool,
    "Min": _order_defects.extreme,
    "Mod": _sum_defects.mod,
    "Mul": _either(_scale_defects.scale, _scale_defects.scaled_convolution),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceSumSquare"),
        _empty_defects.reduction,
    ),
    "ReduceMax": _either(_empty_defects.reduction, _order_defects.reduce_extreme),
    "ReduceMin": _either(_empty_defects.reduction, _order_defects.reduce_extreme),
    "ReduceProd": _either(_empty_defects.reduction, _sum_defects.reduce_prod),
    "ReduceSum": _either(_empty_defects.reduction, _sum_defects.reduce_sum),
    "Relu": _order_defects.relu,
    "ScatterElements": _order_defects.scatter,
    "ScatterND": _order_defects.scatter,
    "Sign": _order_defects.sign,
    "Where": _zero_defects.choose,
}
"""For each operator with a defective kernel, what writes the nodes that are affected with others."""
