"""Report: what one attaches to a bug."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING

from ..finish._finish import TARGET
from ..graph._nonfinite import DEFAULT, NONFINITE, differences
from ..simplify import narrowed
from ..trace._source import describe
from ._number_text import counted
from ._save import weight_bytes
from ._summary import functions, modules, operator_counts, signature

if TYPE_CHECKING:
    import onnx_ir as ir

    from ._record import Exported

_DISTRIBUTIONS = ("j2o-core", "jax", "jaxlib", "numpy", "onnx-ir", "onnx", "onnxruntime", "equinox")


def report(program: Exported, *, jaxpr: bool = False) -> str:
    """Signature, operators and modules, differences from JAX, versions, and if asked for the jaxpr, as text."""
    model = program.model
    counts = operator_counts(model)
    lines = [
        f"function       {describe(program.fn)}",
        f"opset          {model.opset_imports['']}, IR version {model.ir_version}",
        f"target         {model.metadata_props[TARGET]}",
        *(f"input          {signature(value)}" for value in model.graph.inputs),
        *(f"output         {signature(value)}" for value in model.graph.outputs),
        *(f"setting        {place} = {value!r}, fixed in the graph" for place, value in program.traced.settings),
        f"weights        {counted(len(model.graph.initializers), 'initializer')}, {weight_bytes(model) / 1e6:.1f} MB",
        *_narrowed(model),
        *_nonfinite(model),
        *declined_rewrites(program),
        *detours(program),
        f"nodes          {sum(counts.values())}",
        *(f"  {count:6} {op_type}" for op_type, count in counts.most_common()),
        *(f"function       {text}" for text in functions(model)),
        *(f"module         {m.path}: {m.parameters} parameters, {counted(m.nodes, 'node')}" for m in modules(model)),
        f"python         {platform.python_version()} on {platform.platform()}",
        *versions(),
    ]
    for plugin in program.registry.plugins:
        lines.append(f"plugin         {plugin.name} {plugin.version or ''} {plugin.distribution or ''}".rstrip())
    if jaxpr:
        lines += ["jaxpr", str(program.lowered.jaxpr) if program.lowered is not None else "not in a file"]
    return "\n".join(lines)


def versions() -> list[str]:
    """Names and versions of what is installed, as lines."""
    lines = []
    for name in _DISTRIBUTIONS:
        try:
            lines.append(f"{name:14} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return lines


def declined_rewrites(program: Exported) -> list[str]:
    """Why patterns that are nearly those of an operator stayed decomposed; of layers that are alike, once."""
    parts = program.lowered.parts() if program.lowered is not None else ()
    lines = _entries(entry for part in parts for entry in part.declined)
    return [f"decomposed     {counted(len(lines), 'near miss', 'near misses')} of a fusion", *lines] if lines else []


def detours(program: Exported) -> list[str]:
    """Operators that the target cannot run as they are, and what stands for them; of layers that are alike, once."""
    parts = program.lowered.parts() if program.lowered is not None else ()
    lines = _entries(entry for part in parts for entry in part.detours)
    return [f"detours        {len(lines)} around kernels that are missing, slow or wrong", *lines] if lines else []


def _entries(found: Iterable[tuple[str, str, str]]) -> list[str]:
    """Operator, reason and place of each as a line, with how often it occurs."""
    counts = {f"  {operator}: {reason} ({place})": n for (operator, reason, place), n in Counter(found).items()}
    return [line if count == 1 else f"{line}, {count} times" for line, count in counts.items()]


def _narrowed(model: ir.Model) -> list[str]:
    """The narrow dtype, if the program was exported with one, and what stays in float32."""
    record = narrowed(model)
    if record is None:
        return []
    counts = ", ".join(f"in {dtype}: {count}" for dtype, count in record["equations"].items())
    kept = [f"  {count:6} {name}: {why}" for name, why, count in record["float32"]]
    begins = "; float32 begins at" if kept else ""
    return [f"dtype          {record['dtype']}; equations {counts}{begins}", *kept]


def _nonfinite(model: ir.Model) -> list[str]:
    """The option `nonfinite`, and which operators are JAX's for finite numbers only."""
    found = list(differences(model))
    advice = ' (nonfinite="exact" makes them exact)' if found else ""
    option = model.metadata_props.get(NONFINITE, DEFAULT)
    first = f"nonfinite      {option}; operators that differ from JAX: {len(found)}{advice}"
    return [first, *(f"  {difference} ({place})" for difference, place in found)]
