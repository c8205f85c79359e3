"""Coverage: what each composite of a registry does under `vmap`, `jvp` and `grad`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from j2o_core import Composite, Registry

_BATCHING = {"bind": "B: bound again", "body": "A: body mapped"}
_YES = "yes"
_NO = "no, by design: zero where JAX's gradient is zero, else refused"


@dataclass(frozen=True)
class Row:
    """One composite. Approach A falls back to its body, approach B binds it again.

    Attributes:
        composite: dotted path of its function.
        plugin: the plugin that declares it.
        batching: under `vmap`.
        jvp: what the primal and the tangent are.
        transpose: what the tangent's transpose is.
        differentiable: whether it has gradients, or why not.
    """

    composite: str
    plugin: str
    batching: str
    jvp: str
    transpose: str
    differentiable: str


def coverage(registry: Registry) -> list[Row]:
    """One row for every composite that the registry's plugins declare."""
    return [_row(composite, plugin.name) for plugin in registry.plugins for composite in plugin.composites]


def _row(composite: Composite, plugin: str) -> Row:
    batching = _BATCHING[composite.batching]
    if not composite.differentiable:
        return Row(composite.name, plugin, batching, "B: primal bound again", "none needed", _NO)
    jvp = "B: primal bound again, tangent of the body"
    return Row(composite.name, plugin, batching, jvp, "A: of the body's tangent", _YES)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    titles = [field.name for field in fields(Row)]
    lines = [titles, ["---"] * len(titles)]
    lines += [[f"`{row.composite}`", *astuple(row)[1:]] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
