"""Records of weights that are kept: which leaf an initializer is, how it lies in it, and which leaves have none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph._kept import KEPT, LEAVES, WEIGHT, Weight, digest
from ..simplify import ConstantTable
from ..trace._lazy import is_lazy


def write_leaves(model: ir.Model, leaves: Sequence[tuple[str, Any]], table: ConstantTable) -> None:
    """Note which leaves a model has no initializers of: those that nothing reads, second names, and fixed values.

    Args:
        model: a finished model.
        leaves: each leaf under each of its names.
        table: which of them are fixed.
    """
    weights: list[Weight] = [value.meta[KEPT] for value in model.graph.initializers.values() if KEPT in value.meta]
    stored = {view.leaf for weight in weights for view in weight.views()}
    fixed = {name: digest(value) for name, value in table.fixed}
    tied: dict[str, str] = {}
    unused: list[str] = []
    for name, leaf in leaves:
        known = table.name(leaf)
        is_numpy = isinstance(leaf, np.ndarray) and not is_lazy(leaf)
        if name in stored:
            continue
        if known is not None and known in stored and known != name:
            tied[name] = known
        elif known not in fixed and is_numpy:
            fixed[name] = digest(leaf)  # NumPy may have computed with it, and JAX has a copy in 32 bits
        elif known not in fixed:
            unused.append(name)
    model.metadata_props[LEAVES] = json.dumps({"unused": unused, "tied": tied, "fixed": fixed})


def write_records(graph: ir.Graph) -> None:
    """Note at each initializer that is a leaf which one, and how it lies in it."""
    for value in graph.initializers.values():
        weight: Weight | None = value.meta.get(KEPT)
        if weight is not None and weight.leaf and value.const_value is not None:
            value.const_value.metadata_props[WEIGHT] = json.dumps(weight.record())
