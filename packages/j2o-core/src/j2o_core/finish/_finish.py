"""Finish: register constants, name everything, and wrap the graph as a model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import metadata

import onnx_ir as ir

from ..graph._domains import finish_domains
from ..graph._nonfinite import DEFAULT, EXACT, NONFINITE
from ..graph._walk import all_graphs
from ..lower._lowered import Lowered
from ..target import Target
from ..trace._trace import Traced
from ._functions import close_functions, made_functions
from ._leaves import write_records
from ._names import name_values, place_nodes

# In the metadata of the model: where it runs.
TARGET = "j2o.target"

# The oldest IR version whose readers know the opset.
_IR_VERSIONS = {23: 11, 24: 12, 25: 13, 26: 13}
_OLDEST_IR_VERSION = 10


def finish(lowered: Lowered, traced: Traced, target: Target, domains: Mapping[str, int]) -> ir.Model:
    """The finished model: initializers registered, unused nodes gone, unique readable names."""
    graph = lowered.graph
    close_functions(lowered)
    graphs = list(all_graphs(graph))
    place_nodes(graphs)
    name_values(graphs, [leaf.name for leaf in traced.inputs.leaves], traced.output_names)
    write_records(graph)
    finish_domains(graphs, domains)
    return ir.Model(
        graph,
        functions=made_functions(lowered, domains),
        ir_version=_IR_VERSIONS.get(target.opset, _OLDEST_IR_VERSION),
        producer_name="j2o",
        producer_version=_version(),
        metadata_props={NONFINITE: EXACT if target.exact_nonfinite else DEFAULT, TARGET: target.describe()},
    )


@functools.cache
def _version() -> str:
    return metadata.version("j2o-core")
