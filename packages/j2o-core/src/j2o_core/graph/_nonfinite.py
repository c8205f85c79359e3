"""Operators that are JAX's for finite numbers only, because the exact form would cost more than a tenth of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .._errors import SpecError
from ..trace._source import source_of

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT = "exact"
DEFAULT = "default"

# In the metadata of the model: which of the two it was exported with. In that of a node: how it differs from JAX.
NONFINITE = "j2o.nonfinite"


def asks_for_exact(nonfinite: str | None) -> bool:
    """Whether the option `nonfinite` of `to_onnx` asks for operators that are exact for NaN and infinities, too.

    Raises:
        SpecError: if it is none of its values.
    """
    if nonfinite not in (EXACT, None):
        raise SpecError(
            f'nonfinite is {nonfinite!r}. Expected "exact", or None: operators that are exact for finite numbers and '
            f"differ from JAX for NaN or infinities where that would cost more than a tenth of them."
        )
    return nonfinite == EXACT


def only_finite(value: ir.Value, how: str) -> ir.Value:
    """Notes how the operator that makes a value differs from JAX for NaN or infinities; returns the value."""
    node = value.producer()
    assert node is not None, "an operator makes the value"
    node.metadata_props[NONFINITE] = f"{node.op_type}: {how}"
    return value


def difference(node: ir.Node) -> str | None:
    """The note of `only_finite` at a node."""
    note = node.metadata_props.get(NONFINITE)
    return None if note is None else note.partition(": ")[2]


def differences(model: ir.Model) -> Iterator[tuple[str, str]]:
    """(how it differs, source line) of each operator that differs from JAX for NaN or infinities."""
    from ._walk import model_graphs  # it needs onnx_ir, which the check of the option does not

    seen = set()
    for graph in model_graphs(model):
        for node in graph:
            note = node.metadata_props.get(NONFINITE)
            entry = note, source_of(node) or "unknown source"
            if note is not None and entry not in seen:  # legalizing one operator may take several nodes
                seen.add(entry)
                yield note, entry[1]
