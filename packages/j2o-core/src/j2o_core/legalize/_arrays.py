"""Inputs and outputs that the target has no arrays for."""

from __future__ import annotations

import onnx_ir as ir

from .._errors import LegalizeError
from ..target import Target

_MESSAGE = """{target} takes and gives no arrays of {dtypes}: {values}.
JavaScript has none. Take and return float32 or integers that it has, and cast inside the function: x.astype(...)."""


def check_arrays(graph: ir.Graph, target: Target) -> None:
    """Refuse a graph whose inputs or outputs have element types that the target's language has no arrays of.

    Raises:
        LegalizeError: with the names of all of them.
    """
    sides = {"input": graph.inputs, "output": graph.outputs}
    refused = [
        (f"{side} {value.name!r}" if side == "input" else f"{side} {index}", str(value.dtype.numpy()))
        for side, values in sides.items()
        for index, value in enumerate(values)
        if target.arrays is not None and value.dtype is not None and value.dtype not in target.arrays
    ]
    if refused:
        names, dtypes = zip(*refused, strict=True)
        words = {"target": target.describe(), "dtypes": ", ".join(dict.fromkeys(dtypes)), "values": ", ".join(names)}
        raise LegalizeError(_MESSAGE.format(**words))
