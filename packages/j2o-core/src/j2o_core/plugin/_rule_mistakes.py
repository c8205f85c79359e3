"""Advice for mistakes of rules and rewrites whose errors come from Python, JAX or onnx-ir, and the line of a rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_ADVICE = {
    "No magic handler is set": "A value of the graph has no arithmetic of Python's: write op.Mul(x, y), and a constant "
    "as const(2, x).",
    "onnx_ir.Value": "JAX computes with arrays, not with values of the graph: write operators, op.Sin(x), or in a "
    "lowering ctx.lower_fun(function, x).",
    "of type Value": "NumPy computes with arrays, not with values of the graph: write operators, op.Sin(x).",
    "SymbolicDim": "Sizes to compute with are those of JAX: ctx.avals_in[0].shape in a lowering, rw.shape(x) in a "
    "rewrite.",
}


def advice_for(error: Exception) -> str | None:
    """A sentence about how to write it instead, None if the error speaks for itself."""
    said = str(error)
    return next((advice for piece, advice in _ADVICE.items() if piece in said), None)


def defined_at(rule: Callable[..., Any]) -> str | None:
    """Where a function is defined, None if it is not written in Python."""
    code = getattr(inspect.unwrap(rule), "__code__", None)
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno} in {code.co_name}"
