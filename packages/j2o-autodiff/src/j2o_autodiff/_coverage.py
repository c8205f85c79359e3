"""Coverage: what each composite and each primitive of a registry does under `vmap`, `jvp` and `grad`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from jax.interpreters import ad, batching

from j2o_core import Composite, Registry

from ._derive import DERIVATIONS, Derivation

_BATCHING = {"bind": "B: bound again", "body": "A: body mapped"}
_DERIVED_BATCHING = {"bind": "B: bound again", "body": "A: reference mapped"}
_YES = "yes"
_NO = "no, by design: zero where JAX's gradient is zero, else refused"
_OWN, _NONE, _ZERO = "JAX's", "none", "zero"
# JAX gives these a JVP whose tangent it cannot transpose.
_FORWARD_ONLY = ("while",)


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


@dataclass(frozen=True)
class PrimitiveRow:
    """One primitive that plugins lower, or that has derived rules.

    Attributes:
        primitive: its name.
        lowering: the plugins with a rule and the opsets from which they may be used, or with JAX code to lower in its
            place; "" if it has neither.
        vmap: `JAX's` rule (the library's, for primitives of others), a derived one, or none.
        jvp: the same; `zero` where every tangent is zero by construction.
        grad: the same, for reverse mode.
    """

    primitive: str
    lowering: str
    vmap: str
    jvp: str
    grad: str


def coverage(registry: Registry) -> list[Row]:
    """One row for every composite that the registry's plugins declare."""
    return [_row(composite, plugin.name) for plugin in registry.plugins for composite in plugin.composites]


def _row(composite: Composite, plugin: str) -> Row:
    batching = _BATCHING[composite.batching]
    if not composite.differentiable:
        return Row(composite.name, plugin, batching, "B: primal bound again", "none needed", _NO)
    jvp = "B: primal bound again, tangent of the body"
    return Row(composite.name, plugin, batching, jvp, "A: of the body's tangent", _YES)


def primitive_coverage(registry: Registry) -> list[PrimitiveRow]:
    """One row for every primitive that the registry's plugins lower or `derive` gave rules, by name.

    Rules are JAX's by the name of the primitive, for plugins name primitives that only some releases have.
    """
    composites = {composite.name for composite in registry.composites}
    opsets: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for name, lowering in registry.rows():
        if name not in composites:
            opsets[name][lowering.plugin.name].append(lowering.opset)
    for plugin in registry.plugins:
        for name in plugin.decompositions:
            opsets[name].setdefault(f"{plugin.name} (JAX code)", [])
    derived = {primitive.name: derivation for primitive, derivation in DERIVATIONS.items()}
    batchers = {primitive.name for primitive in batching.fancy_primitive_batchers}
    jvps = {primitive.name: rule for primitive, rule in ad.primitive_jvps.items()}
    return [
        _primitive_row(name, opsets.get(name, {}), derived.get(name), name in batchers, jvps.get(name))
        for name in sorted(opsets.keys() | derived.keys())
    ]


def _primitive_row(
    name: str, opsets: Mapping[str, list[int]], derivation: Derivation | None, batches: bool, jvp_rule: Any
) -> PrimitiveRow:
    lowering = ", ".join(f"{plugin} {'/'.join(map(str, sorted(found)))}".strip() for plugin, found in opsets.items())
    rules = derivation.rules if derivation is not None else frozenset()
    vmap = _OWN if batches else _NONE
    jvp = _NONE if jvp_rule is None else _ZERO if _is_zero(jvp_rule) else _OWN
    grad = _NONE if name in _FORWARD_ONLY else jvp
    if derivation is not None and "batching" in rules:
        vmap = _DERIVED_BATCHING[derivation.batching]
    if derivation is not None and "jvp" in rules:
        jvp = grad = "B: primal bound again, tangent of the reference" if derivation.differentiable else _NO
    return PrimitiveRow(name, lowering, vmap, jvp, grad)


def _is_zero(rule: Any) -> bool:
    """Whether a JVP rule is that of `ad.defjvp_zero`, as those of comparisons are."""
    return getattr(getattr(rule, "func", rule), "__name__", "") == "zero_jvp"


def markdown(rows: Sequence[Row] | Sequence[PrimitiveRow], more: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The rows as a table; `more` has further columns by title, with a cell for each name in the first column."""
    if not rows:
        return "None."
    columns = more or {}
    titles = [*(field.name for field in fields(rows[0])), *columns]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        name, *cells = astuple(row)
        lines.append([f"`{name}`", *cells, *(column.get(name, "") for column in columns.values())])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
