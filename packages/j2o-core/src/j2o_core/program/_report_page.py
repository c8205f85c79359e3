"""The report as one page of HTML, which loads nothing and takes the colours that the reader prefers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..finish._finish import TARGET
from ..graph._nonfinite import differences
from ..simplify import narrowed
from ._number_text import bytes_text, count_text, counted
from ._report import versions
from ._save import weight_bytes
from ._summary import functions, modules, operator_counts, signature

if TYPE_CHECKING:
    import onnx_ir as ir

    from ._profile import Profile
    from ._verify import Verification

_MOST_BARS = 24
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; overflow-wrap: anywhere }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tr + tr { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent) }
.bar { background: #4a5fa5; height: .8rem; border-radius: 2px; min-width: 1px }
code { font-size: .9em }
.wide { overflow-x: auto }
.bars td:nth-child(2) { width: 50% }
@media (max-width: 40rem) {
  .bars tr { display: grid; grid-template-columns: 1fr auto }
  .bars td:nth-child(2) { grid-area: 2 / 1 / 3 / 3; width: auto }
}
"""


def report_page(
    model: ir.Model,
    title: str,
    verification: Verification | None = None,
    lines: Mapping[str, Sequence[str]] = MappingProxyType({}),
    seconds: Mapping[str, float] | None = None,
    times: Profile | None = None,
) -> str:
    """The page.

    Args:
        model: the exported model.
        title: the function's name.
        verification: how far it is from JAX, if that was measured.
        lines: further sections by their headings, such as rewrites that were tried and declined.
        seconds: how long each stage of the export took.
        times: how long the modules and operators take in a run, if that was measured.
    """
    counts = operator_counts(model)
    target = model.metadata_props.get(TARGET, "")
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p>ONNX opset {model.opset_imports['']}{_text(f' for {target}' if target else '')}; "
        f"nodes: {sum(counts.values())}, weights: {len(model.graph.initializers)} of "
        f"{bytes_text(weight_bytes(model))}.</p>",
        "<h2>Signature</h2>",
        _table(
            [("in", f"<code>{_text(signature(value))}</code>") for value in model.graph.inputs]
            + [("out", f"<code>{_text(signature(value))}</code>") for value in model.graph.outputs]
        ),
    ]
    if verification is not None:
        parts += ["<h2>Agreement with JAX</h2>", _agreement(verification)]
    parts += ["<h2>Operators</h2>", _bars((name, count, str(count)) for name, count in counts.most_common())]
    if model.functions:
        parts += ["<h2>Functions</h2>", _table([(_text(text),) for text in functions(model)])]
    timed = modules(model, times)
    held = [(m.path, m.parameters, f"{count_text(m.parameters)} parameters, {counted(m.nodes, 'node')}") for m in timed]
    if held:
        parts += ["<h2>Modules</h2>", _bars(held)]
    parts += ["<h2>Casts</h2>", f"<p>{counts['Cast']} of {sum(counts.values())} nodes convert between dtypes.</p>"]
    if (record := narrowed(model)) is not None:
        kept = [(_text(f"{count} {name}"), _text(why)) for name, why, count in record["float32"]]
        parts += [f"<h2>Float32 in {record['dtype']}</h2>", _table(kept) if kept else "<p>None.</p>"]
    differing = [(_text(difference), _text(place)) for difference, place in differences(model)]
    parts += ["<h2>Differences for NaN and infinities</h2>", _table(differing) if differing else "<p>None.</p>"]
    for heading, found in lines.items():
        if found:
            parts += [f"<h2>{_text(heading)}</h2>", _table([(_text(line.strip()),) for line in found])]
    if times is not None:
        parts += ["<h2>Time of a run</h2>", f"<p>{_text(times.headline)}.</p>"]
        parts += [_times(times.operators)] + ([_times({m.path: m.seconds for m in timed})] if timed else [])
    if seconds:
        parts += ["<h2>Time of the export</h2>", _times(seconds)]
    parts += ["<h2>Versions</h2>", _table([tuple(map(_text, line.split(maxsplit=1))) for line in versions()])]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n<body>'
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _text(text: str) -> str:
    return html.escape(text)


def _table(rows: Iterable[Sequence[str]]) -> str:
    return (
        "<table>" + "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows) + "</table>"
    )


def _bars(rows: Iterable[tuple[str, int, str]]) -> str:
    """Each a name, a number that its bar is as long as, and a text."""
    rows = list(rows)
    largest = max((number for _, number, _ in rows), default=0) or 1
    lines = [
        f"<tr><td>{_text(name)}</td><td><div class='bar' style='width:{100 * number / largest:.1f}%'>"
        f"</div></td><td class='number'>{_text(text)}</td></tr>"
        for name, number, text in rows[:_MOST_BARS]
    ]
    more = f"<p>and {len(rows) - _MOST_BARS} more</p>" if len(rows) > _MOST_BARS else ""
    return f"<table class='bars'>{''.join(lines)}</table>{more}"


def _times(seconds: Mapping[str, float]) -> str:
    """A bar for each of these times."""
    return _bars((name, round(1e9 * time), f"{1e3 * time:.3g} ms") for name, time in seconds.items())


def _agreement(verification: Verification) -> str:
    head, *rows = verification.rows()
    lines = [f"<tr>{''.join(f'<th class=number>{_text(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td class=number>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows]
    notes = "".join(f"<p>{_text(note)}</p>" for note in verification.notes)
    runs = counted(len(verification.runs), "run")
    return f"<div class='wide'><table>{''.join(lines)}</table></div><p>{runs}.</p>{notes}"
