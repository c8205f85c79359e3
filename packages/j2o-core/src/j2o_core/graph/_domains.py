"""Operators of other domains: `my.domain::Gelu` is their op_type until the model is finished.

So no matcher can take one for ONNX's operator of the same name: it would have to ask for it by its whole name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

# Operators that only lowerings and rewrites know. None is left in a finished graph.
INTERNAL_DOMAIN = "j2o"
# Functions of the file that are what the user chose to keep as functions.
FUNCTION_DOMAIN = "j2o.functions"
_STANDARD = ("", "ai.onnx")


def domain_of(op_type: str) -> str:
    """The domain that an op_type names, `""` for ONNX's own."""
    return op_type.rpartition("::")[0] if "::" in op_type else ""


def bare(op_type: str) -> str:
    """An op_type without its domain."""
    return op_type.rpartition("::")[2]


def standard(op_type: str) -> str:
    """An op_type as given to a builder: ONNX's own domain is not written."""
    if "::" not in op_type:
        return op_type
    domain, _, name = op_type.rpartition("::")
    return name if domain in _STANDARD else op_type


def qualified(node: ir.Node) -> str:
    """The op_type of a node, with its domain if that is not ONNX's, in a finished model too."""
    return node.op_type if node.domain in _STANDARD or "::" in node.op_type else f"{node.domain}::{node.op_type}"


def finish_domains(graphs: Sequence[ir.Graph], versions: Mapping[str, int]) -> None:
    """Write op_types as ONNX has them, and import the opsets of their domains: version 1 where none is given.

    Args:
        graphs: a graph, which gets the imports, and all graphs nested in it.
        versions: of the opsets of domains.
    """
    for inner in graphs:
        for node in inner:
            if node.domain not in _STANDARD:
                node.op_type = bare(node.op_type)
                graphs[0].opset_imports.setdefault(node.domain, versions.get(node.domain, 1))
