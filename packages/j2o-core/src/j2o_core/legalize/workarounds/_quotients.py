"""Integer reciprocals, which the runtime merges into a product as if they were exact: (1 / y) * z becomes z / y."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ...rewrite import Rewriter

T = ir.DataType


def reciprocal(rw: Rewriter, node: ir.Node) -> Any:
    """1 / y as (y == 1) - (y == -1), where a product reads it."""
    op, (one, y) = rw.op, node.inputs
    if y is None or y.dtype is None or rw.scalar(one) != 1:
        return None
    if all(user.op_type != "Mul" for user, _ in node.outputs[0].uses()):
        return None
    above, below = (op.cast(op.Equal(y, op.const(sign, y)), y.dtype) for sign in (1, -1))
    return op.Sub(above, below)
