"""Summary: what a program is, on one screen, as text and as a card in notebooks."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..finish._finish import TARGET
from ..graph._domains import qualified
from ..graph._values import shape_text
from ..graph._walk import all_graphs, called, model_graphs
from ..trace._modules import MODULE
from ..trace._source import name_of
from ._number_text import bytes_text, count_text, counted
from ._save import weight_bytes

if TYPE_CHECKING:
    import onnx_ir as ir

    from ._profile import Profile
    from ._verify import Verification

_MOST_MODULES = 16
_MOST_OPERATORS = 6
_MOST_VALUES = 12


@dataclass
class Module:
    """Parameters and nodes of one module and those below it, and the seconds in these nodes."""

    path: str
    parameters: int = 0
    nodes: int = 0
    seconds: float = 0.0


def operator_counts(model: ir.Model) -> Counter[str]:
    """How often each operator occurs, nested graphs included."""
    return Counter(qualified(node) for graph in model_graphs(model) for node in graph)


def signature(value: ir.Value) -> str:
    """Name, dtype and shape of a value: `x: float32[B, 3]`."""
    dtype = "?" if value.dtype is None else value.dtype.numpy().name
    return f"{value.name}: {dtype}{shape_text(value).replace(',', ', ')}"


def modules(model: ir.Model, times: Profile | None = None) -> list[Module]:
    """The modules at the top of a model, those in lists one by one unless they are many."""
    seconds = times.modules if times is not None else {}
    parameters: Counter[str] = Counter()
    nodes: Counter[str] = Counter()
    for name, value in model.graph.initializers.items():
        if "." in name and value.const_value is not None:
            parameters[name.rpartition(".")[0]] += value.const_value.size
    nodes.update(_places(model, model.graph, ""))
    paths = dict.fromkeys((*nodes, *parameters, *filter(None, seconds)))
    top = _one_in_list if len({_one_in_list(path) for path in paths}) <= _MOST_MODULES else _first
    found: dict[str, Module] = {}
    for path in paths:
        module = found.setdefault(top(path), Module(top(path)))
        module.parameters += parameters[path]
        module.nodes += nodes[path]
        module.seconds += seconds.get(path, 0.0)
    return list(found.values())[:_MOST_MODULES]


def _places(model: ir.Model, outer: ir.Graph | ir.Function, path: str) -> Iterator[str]:
    """The module of each node of a graph that has one, those of functions once for every call."""
    for graph in all_graphs(outer):
        for node in graph:
            place = ".".join(filter(None, (path, node.metadata_props.get(MODULE))))
            function = called(node, model)
            if function is not None:
                yield from _places(model, function, place)
            elif place:
                yield place


def functions(model: ir.Model) -> list[str]:
    """Each function of a model with its calls and nodes, as text."""
    calls = Counter(called(node, model) for graph in model_graphs(model) for node in graph)
    return [
        f"{one.name}: {counted(calls[one], 'call')} of {counted(sum(map(len, all_graphs(one))), 'node')}"
        for one in model.functions.values()
    ]


def _first(path: str) -> str:
    return re.split(r"[./]", path)[0]


def _one_in_list(path: str) -> str:
    first, *rest = re.split(r"[./]", path)
    return f"{first}.{rest[0]}" if rest and rest[0].isdecimal() else first


def _rows(model: ir.Model, verification: Verification | None, times: Profile | None) -> Iterator[tuple[str, list[str]]]:
    for heading, values in (("in", model.graph.inputs), ("out", model.graph.outputs)):
        more = [f"and {len(values) - _MOST_VALUES} more"] if len(values) > _MOST_VALUES else []
        yield heading, [*map(signature, values[:_MOST_VALUES]), *more]
    counts = operator_counts(model)
    common = ", ".join(f"{count} {name}" for name, count in counts.most_common(_MOST_OPERATORS))
    rest = ", ..." if len(counts) > _MOST_OPERATORS else ""
    yield "nodes", [f"{sum(counts.values())}: {common}{rest}"]
    if model.functions:
        yield "functions", functions(model)
    tensors = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    numbers = sum(tensor.size for tensor in tensors)
    sizes = f"{counted(len(tensors), 'tensor')}, {count_text(numbers)} number{'' if numbers == 1 else 's'}"
    yield "weights", [f"{sizes}, {bytes_text(weight_bytes(model))}"]
    found = modules(model, times)
    width = max((len(module.path) for module in found), default=0)
    lines = [
        f"{m.path:{width}}  {count_text(m.parameters):>7} parameters  {m.nodes:>5} node{' ' if m.nodes == 1 else 's'}"
        f"{f'  {times.share(m.seconds):>4} of the time' if times is not None else ''}".rstrip()
        for m in found
    ]
    if lines:
        yield "modules", lines
    if times is not None:
        yield "time", [times.headline]
    if verification is not None:
        yield "JAX", str(verification).splitlines()


def _title(fn: Callable[..., Any], model: ir.Model) -> str:
    target = model.metadata_props.get(TARGET, "")
    return f"{name_of(fn)}, ONNX opset {model.opset_imports['']}{f' for {target}' if target else ''}"


def text(fn: Callable[..., Any], model: ir.Model, verification: Verification | None, times: Profile | None) -> str:
    """The summary as lines."""
    lines, found = [_title(fn, model)], list(_rows(model, verification, times))
    width = max(8, *(len(heading) for heading, _ in found))
    for heading, rows in found:
        lines += [f"  {heading if index == 0 else '':{width}} {row}" for index, row in enumerate(rows)]
    return "\n".join(lines)


def card(fn: Callable[..., Any], model: ir.Model, verification: Verification | None, times: Profile | None) -> str:
    """The summary as HTML, which takes the colours of the page that it is in."""
    body = "".join(
        f"<tr><th style='text-align:left;vertical-align:top;padding-right:1em'>{heading}</th>"
        f"<td style='text-align:left'><pre style='margin:0'>{html.escape(chr(10).join(rows))}</pre></td></tr>"
        for heading, rows in _rows(model, verification, times)
    )
    title = f"<caption style='text-align:left'>{html.escape(_title(fn, model))}</caption>"
    return f"<div style='overflow-x:auto'><table>{title}{body}</table></div>"
