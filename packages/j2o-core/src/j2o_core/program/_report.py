"""Report: what one attaches to a bug."""

from __future__ import annotations

import platform
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING

from ..graph._domains import qualified
from ..graph._nonfinite import DEFAULT, NONFINITE, differences
from ..graph._values import shape_of
from ..graph._walk import all_graphs
from ..trace._source import describe
from ._save import weight_bytes

if TYPE_CHECKING:
    import onnx_ir as ir

    from ._record import Exported

_DISTRIBUTIONS = ("j2o-core", "jax", "jaxlib", "numpy", "onnx-ir", "onnx", "onnxruntime", "equinox")


def operator_counts(model: ir.Model) -> Counter[str]:
    """How often each operator occurs, nested graphs included."""
    return Counter(qualified(node) for graph in all_graphs(model.graph) for node in graph)


def report(program: Exported) -> str:
    """Versions, plugins, signature, operators and the jaxpr that was lowered, as text."""
    model = program.model
    counts = operator_counts(model)
    lines = ["j2o report", f"  python       {platform.python_version()} on {platform.platform()}"]
    for name in _DISTRIBUTIONS:
        try:
            lines.append(f"  {name:12} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    for plugin in program.registry.plugins:
        lines.append(f"  plugin       {plugin.name} {plugin.version or ''} {plugin.distribution or ''}".rstrip())
    lines += [
        f"function       {describe(program.fn)}",
        f"opset          {model.opset_imports['']}, IR version {model.ir_version}",
        f"target         {model.metadata_props['j2o.target']}",
        *(f"input          {_signature(value)}" for value in model.graph.inputs),
        *(f"output         {_signature(value)}" for value in model.graph.outputs),
        *(f"setting        {place} = {value!r}, fixed in the graph" for place, value in program.traced.settings),
        f"weights        {len(model.graph.initializers)} initializers, {weight_bytes(model) / 1e6:.1f} MB",
        f"nodes          {sum(counts.values())}",
        *(f"  {count:6} {op_type}" for op_type, count in counts.most_common()),
        *_nonfinite(model),
        "jaxpr",
        str(program.lowered.jaxpr),
    ]
    return "\n".join(lines)


def _nonfinite(model: ir.Model) -> list[str]:
    """The option `nonfinite`, and which operators are JAX's for finite numbers only."""
    found = list(differences(model))
    advice = ' (nonfinite="exact" makes them exact)' if found else ""
    option = model.metadata_props.get(NONFINITE, DEFAULT)
    first = f"nonfinite      {option}; operators that differ from JAX: {len(found)}{advice}"
    return [first, *(f"  {difference} ({place})" for difference, place in found)]


def _signature(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    return f"{value.name}: {dtype}[{', '.join(map(str, shape_of(value) or value.shape or ()))}]"
