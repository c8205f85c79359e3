"""Where a program is to run: a runtime at one release or at all that are supported, or standard ONNX."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from .._errors import SpecError
from ._dtypes import ARRAYS_OF_JAVASCRIPT, NARROW_FLOATS
from ._kernels import Release, Signature, Types, releases
from ._workaround import Workaround
from ._workarounds import WORKAROUNDS

RUNTIME = "onnxruntime"
WEB = "onnxruntime-web"


def target_names() -> tuple[str, ...]:
    """The names that `to_onnx(target=)` takes: `onnxruntime`, one for each supported release, `onnxruntime-web`."""
    return (RUNTIME, *releases())


@dataclasses.dataclass(frozen=True)
class Target:
    """A runtime, or standard ONNX.

    Attributes:
        name: `"onnxruntime"` for every supported release (the first is 1.31), `"onnxruntime-1.32"` for one,
            `"onnxruntime-web"` for the WebAssembly build of the npm package, None for standard ONNX.
        opset: the opset that is written.
        exact_nonfinite: whether NaN and infinities are JAX's at any cost: `to_onnx(nonfinite="exact")`.
        unroll: whether loops of known length are unrolled, `"auto"` where that is faster: `to_onnx(unroll=)`.
    """

    name: str | None
    opset: int
    exact_nonfinite: bool = False
    unroll: bool | str = "auto"

    def __post_init__(self) -> None:
        if self.name is not None and self.name not in target_names():
            known = ", ".join(f'"{name}"' for name in target_names())
            raise SpecError(f"target is {self.name!r}. Expected {known}, or None (standard ONNX).")

    @functools.cached_property
    def releases(self) -> tuple[Release, ...]:
        """The releases that have to run the program; none for standard ONNX."""
        if self.name is None:
            return ()
        names = [self.name] if self.name != RUNTIME else [name for name in releases() if name != WEB]
        return tuple(map(Release, names))

    @property
    def arrays(self) -> tuple[ir.DataType, ...] | None:
        """Element types that inputs and outputs can have, or None for any: JavaScript has arrays of these alone."""
        return ARRAYS_OF_JAVASCRIPT if self.name == WEB else None

    @functools.cached_property
    def workarounds(self) -> tuple[Workaround, ...]:
        """The rows that one of the releases needs."""
        return tuple(row for row in WORKAROUNDS if any(row.needed(release.version) for release in self.releases))

    def runs(
        self,
        op_type: str,
        *inputs: ir.DataType | None,
        outputs: Sequence[ir.DataType | None] = (),
        attributes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Whether an operator of the default domain runs as it is: ONNX allows it, and each release has a kernel.

        Args:
            op_type: the operator.
            *inputs: element types of the inputs; the first is enough where the others share it. None where an input
                is left out or its type does not matter.
            outputs: element types of the outputs, likewise.
            attributes: attributes that matter (`reduction` of ScatterND, `mode` of Resize).
        """
        known = self.signature(op_type)
        if known is None:
            return False
        bindings = known.bind(inputs, outputs)
        given = attributes or {}
        return bindings is not None and all(self.runs_types(op_type, types, given.get) for types in bindings)

    def runs_widened(self, op_type: str, dtype: ir.DataType | None) -> bool:
        """Whether an operator runs on an element type, or on float32 if it is a float of fewer bits.

        Legalize computes these in float32, between casts.
        """
        return self.runs(op_type, dtype) or (dtype in NARROW_FLOATS and self.runs(op_type, ir.DataType.FLOAT))

    def computes_wrongly(self, op_type: str, dtype: ir.DataType | None) -> bool:
        """Whether an operator on an element type is worked around in one of the releases."""
        return any(op_type in row.op_types and dtype in row.dtypes for row in self.workarounds)

    def signature(self, op_type: str) -> Signature | None:
        """The operator at the opset, as ONNX has it, or None if there is none."""
        release, *_ = self.releases or map(Release, releases())
        return release.signature(op_type, self.opset)

    def runs_types(self, op_type: str, types: Types, attribute: Callable[[str, Any], Any]) -> bool:
        """As `runs`, of type variables; `attribute(name, default)` gives attributes."""
        known = self.signature(op_type)
        if known is None or not known.checked:
            return known is not None
        if not known.allows(types) or any((op_type, dtype) in self._unusable for dtype in types.values()):
            return False
        signatures = [release.signature(op_type, self.opset) for release in self.releases]
        return all(other is not None and other.runs(types, attribute) for other in signatures)

    @functools.cached_property
    def _unusable(self) -> frozenset[tuple[str, ir.DataType]]:
        """Operators and element types whose kernels are wrong and have no replacement of their own."""
        rows = [row for row in self.workarounds if row.unusable]
        return frozenset((op_type, dtype) for row in rows for op_type in row.op_types for dtype in row.dtypes)

    def describe(self) -> str:
        """In words, for messages and metadata: `onnxruntime 1.31 to 1.32`, `standard ONNX`."""
        if self.name is None:
            return "standard ONNX"
        versions = [".".join(map(str, release.version)) for release in self.releases]
        runtime = WEB if self.name == WEB else RUNTIME
        return f"{runtime} {versions[0]}" + (f" to {versions[-1]}" if len(versions) > 1 else "")
