"""An export, as the parts of an `OnnxProgram` read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..lower._lowered import Lowered
    from ..plugin._registry import Registry
    from ..trace._trace import Traced


@dataclass(frozen=True)
class Exported:
    """The results of all stages for one function.

    Attributes:
        model: the finished model.
        fn: the function.
        traced: its specs, names and structure.
        lowered: the jaxpr that was lowered, and the values of its equations; None if the program was read from a file.
        registry: the plugins.
        export_again: `to_onnx` with the options of this export, for other functions and specs.
        seconds: how long each stage took, None of a file.
    """

    model: ir.Model
    fn: Callable[..., Any]
    traced: Traced
    lowered: Lowered | None
    registry: Registry
    export_again: Callable[[Callable[..., Any], Sequence[Any]], Any] | None = None
    seconds: Mapping[str, float] | None = None
