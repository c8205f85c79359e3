"""Sequences that may be empty when the graph runs: ONNX Runtime's Scan fails on them.

The If that spares it costs an eighth of a small Scan, so it is there where a constraint such as `"N >= 0"` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext
from j2o_core.graph._sizes import may_be_zero

Branch = Callable[[LoweringContext], Sequence[ir.Value]]


def unless_empty(
    ctx: LoweringContext, length: Any, results: Sequence[Any], full: Branch, empty: Branch
) -> Sequence[ir.Value]:
    """If(length > 0, full, empty); only the former where the length cannot be 0.

    Args:
        ctx: the rule's context.
        length: the number of elements, maybe symbolic.
        results: what has the dtype and the shape of each result.
        full: adds the nodes for one element at least.
        empty: gives the results for none.
    """
    if not may_be_zero(length):
        return full(ctx)
    values = ctx.op.If(
        ctx.op.Greater(ctx.dim(length), ctx.const(0, np.int64)),
        then_branch=ctx.subgraph(None, (), full, "then", results),
        else_branch=ctx.subgraph(None, (), empty, "else", results),
        outputs=len(results),
    )
    return [values] if isinstance(values, ir.Value) else list(values)
