"""The plugin value that every page of this package registers on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from j2o_core import Plugin

plugin = Plugin("flax", libraries=("flax",))

# Linen opens a named scope for each module that it calls, under the name of the instance: it needs no class here.
plugin.module_class("flax.nnx.Module")


@plugin.module_plan("flax.nnx.GraphDef")
def _classes(graphdef: Any) -> Sequence[type]:
    """The classes of the nodes of a graph definition, from which `nnx.merge` makes a model; the model is the first."""
    kinds = (getattr(node, "type", None) for node in getattr(graphdef, "nodes", ()))
    return [kind for kind in kinds if isinstance(kind, type)]
