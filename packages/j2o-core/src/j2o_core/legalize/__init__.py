"""Legalize: makes every node one that ONNX allows and that the target runtime runs.

Lowering rules emit the natural operator in the natural element type: `Where` on uint16, `MatMul` on int8, `Conv` on
float64. ONNX's schemas forbid some of these and runtimes have no kernel for others. Each such node becomes the cheapest
form that computes exactly the same, or the export stops with an error that says which node and where it came from.

    workarounds/   what is written where the target runs an operator and computes it wrongly
    _detours       casts through another element type, as data
    _composed      operators written with other operators
    _problem       the error that lists nodes without an exact form
    _pass          the walk
"""

from ._pass import legalize

__all__ = ["legalize"]
