"""Origins of nodes in a file: the module, and the line of source."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import onnx_ir as ir

from ..graph._walk import model_graphs
from ..trace._modules import MODULE
from ..trace._source import SOURCE, relative_line


def write_metadata(model: ir.Model, level: str, modules: Sequence[str]) -> None:
    """Leave in the metadata of nodes what a file may say; the whole line of source stays with the node in memory.

    Args:
        model: a finished model; it is changed.
        level: "relative", "full" or "none".
        modules: names of the classes of the modules that were exported. Of one, it stands for the module without path.
    """
    relative = functools.cache(relative_line)  # for one export: packages may be moved
    for graph in model_graphs(model):
        for node in graph:
            props = node.metadata_props
            line = props.pop(SOURCE, None)
            module = props.pop(MODULE, None)
            if line is not None:
                node.meta[SOURCE] = line
            if module == "" and len(modules) == 1:
                module = modules[0]
            if level == "none":
                continue
            if module:
                props[MODULE] = module
            if line is not None:
                props[SOURCE] = relative(line) if level == "relative" else line
