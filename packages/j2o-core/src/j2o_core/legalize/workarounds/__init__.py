"""Workarounds: the nodes that are written in the place of operators that a runtime computes wrongly.

The table of faults is `j2o_core.target`'s: each row says for which releases it holds, and has the program that shows
it. Here stands, under the name of the row, how the nodes are written: one file for each kind of fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from ...rewrite import Rewriter
from . import _casts, _empty, _half_precision, _order, _quotients, _scales, _sums, _transposes, _zeros

Replacement = Callable[[Rewriter, ir.Node], Any]
"""Writes a node with others and returns its value or values, or None where the kernel is right for it.

It is asked for nodes of the row's operators one of whose operands has a dtype of the row, so it needs no guard for the
dtype, except where the operands differ in theirs (ReduceSum of floats has axes of int64).
"""

REPLACEMENTS: dict[str, Replacement] = {
    "reduce-sum-integers": _sums.reduce_sum,
    "einsum-integers": _sums.einsum,
    "reduce-prod-integers": _sums.reduce_prod,
    "mod-64-bits": _sums.mod,
    "max-int64": _order.extreme,
    "clip-int64": _order.clip,
    "sign-int64": _order.sign,
    "reduce-max-int64": _order.reduce_int64,
    "relu-int64": _order.relu,
    "reduce-max-nan": _order.reduce_extreme,
    "log-softmax-nan": _order.log_softmax,
    "max-pool-nan": _order.max_pool,
    "max-pool-minus-infinity": _order.max_pool,
    "scatter-max-nan": _order.scatter,
    "where-negative-zero": _zeros.choose,
    "reduce-empty-negative-axes": _empty.negative_axes,
    "reduce-empty-bool": _empty.booleans,
    "matmul-empty-floats": _empty.matmul,
    "matmul-empty-integers": _empty.matmul,
    "windows-empty": _empty.kernel,
    "attention-empty": _empty.kernel,
    "scatter-empty": _empty.kernel,
    "cast-float64-float8": _casts.round_twice,
    "cast-float8-overflow": _casts.overflow,
    "cast-powers-of-two": _casts.to_powers,
    "cast-float8-bool": _casts.to_bool,
    "cast-4-bits": _casts.to_few_bits,
    "cast-chains": _casts.break_chain,
    "shape-of-cast": _casts.shape,
    "cast-widens-float16": _half_precision.widened,
    "cast-narrows-float16": _half_precision.narrowed,
    "compares-float16": _half_precision.compared,
    "orders-float16": _half_precision.ordered,
    "reciprocal-times": _quotients.reciprocal,
    "scaled-product-float64": _scales.scale,
    "scaled-convolution": _scales.scaled_convolution,
    "transposed-matrix-times-vector": _transposes.matmul,
}
