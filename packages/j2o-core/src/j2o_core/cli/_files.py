"""Commands on files alone: `j2o report` and `j2o diff`."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from .._errors import SaveError
from ..program._number_text import bytes_text
from ._output import Section, show

if TYPE_CHECKING:
    import onnx_ir as ir

_MOST = 12
_TIMED_RUNS = 21


def report(options: argparse.Namespace) -> None:
    """`j2o report`."""
    from ..program._read_model import read_model
    from ..program._report_page import report_page

    check_folder(options.output)
    model = read_model(options.model)
    page = report_page(model, os.path.basename(options.model))
    write_whole(options.output, lambda file: file.write(page.encode()))
    show_files([options.output], as_json=options.json)


def write_whole(path: str, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and move it there: at each moment the old one is there, or the new one, whole."""
    from ..program._save import is_special
    from ..program._save_turn import TemporaryFiles

    target = os.path.abspath(path)
    files = TemporaryFiles(target)
    try:
        if is_special(target):  # /dev/stdout
            with open(target, "wb") as device:
                write(device)
            return
        with files.new() as (file, temporary):
            write(file)
        files.move(temporary, target)
    except OSError as error:
        raise SaveError(f"Cannot save to {target}: {error.strerror or error}. Nothing was changed there.") from error
    finally:
        files.remove()


def show_files(
    paths: Sequence[str], sections: Sequence[Section] = (), *, as_json: bool, numbers: Mapping[str, Any] | None = None
) -> None:
    """The files that were written and their sizes, between other sections if there are any."""
    sizes = {os.path.relpath(path): os.path.getsize(path) for path in paths if os.path.isfile(path)}
    rows = [(path, bytes_text(size)) for path, size in sizes.items()]
    show([("files", rows), *sections], as_json=as_json, numbers={"files": sizes, **(numbers or {})})


def diff(options: argparse.Namespace) -> None:
    """`j2o diff`."""
    from ..program._read_model import read_model

    before, after = read_model(options.before, in_memory=True), read_model(options.after, in_memory=True)
    sections = [*_signatures(before, after), _operators(before, after), _weights(before, after)]
    if options.latency:
        sections.append(("latency", _latency(before, after, options.size)))
    differing = [section for section in sections if section[1]]
    show(differing or [("same", [("signature, operators and weights", "equal")])], as_json=options.json)


def check_folder(path: str) -> None:
    """Fail before the work rather than after it."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise SaveError(f"Cannot save to {path}: it is a folder. Give the path of the file to write.")
    if not os.path.isdir(folder):
        raise SaveError(f"Cannot save to {path}: the folder {folder} does not exist. Create it first.")
    if not os.access(folder, os.W_OK):
        raise SaveError(f"Cannot save to {path}: Permission denied. Nothing was changed there.")


def _signatures(before: ir.Model, after: ir.Model) -> list[Section]:
    from ..program._summary import signature

    sections: list[Section] = []
    for heading in ("inputs", "outputs"):
        old, new = (list(map(signature, getattr(model.graph, heading))) for model in (before, after))
        rows = [("-", one) for one in old if one not in new] + [("+", one) for one in new if one not in old]
        sections.append((heading, rows))
    opsets = [model.opset_imports.get("", 0) for model in (before, after)]
    sections.append(("opset", [] if opsets[0] == opsets[1] else [("", f"{opsets[0]} -> {opsets[1]}")]))
    return sections


def _operators(before: ir.Model, after: ir.Model) -> Section:
    from ..program._summary import operator_counts

    old, new = operator_counts(before), operator_counts(after)
    changed = sorted(op for op in old.keys() | new.keys() if old[op] != new[op])
    rows = [(op, f"{old[op]} -> {new[op]}") for op in changed]
    if rows:
        rows.insert(0, ("in all", f"{sum(old.values())} -> {sum(new.values())}"))
    return "nodes", rows


def _weights(before: ir.Model, after: ir.Model) -> Section:
    import numpy as np

    old, new = (
        {
            str(name): value.const_value
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        for model in (before, after)
    )
    rows = [("-", name) for name in old if name not in new] + [("+", name) for name in new if name not in old]
    for name in [name for name in old if name in new]:
        one, other = old[name].numpy(), new[name].numpy()
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            rows.append((name, f"{one.dtype}{list(one.shape)} -> {other.dtype}{list(other.shape)}"))
        elif one.tobytes() != other.tobytes():
            apart = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
            rows.append((name, f"values differ by up to {apart:.3g}"))
    more = [("", f"and {len(rows) - _MOST} more")] if len(rows) > _MOST else []
    return "weights", [*rows[:_MOST], *more]


def _latency(before: ir.Model, after: ir.Model, size: int) -> list[tuple[str, str]]:
    """Medians of runs in turn on the same random inputs, every named size being `size`."""
    import numpy as np

    from ..program._random_inputs import random_array
    from ..program._session import Session

    sessions = {"before": Session(before, threads=1), "after": Session(after, threads=1)}
    arrays: dict[str, list[Any]] = {}
    for name, model in (("before", before), ("after", after)):
        rng = np.random.default_rng(0)
        arrays[name] = [
            random_array(rng, tuple(n if isinstance(n, int) else size for n in value.shape or ()), value.dtype.numpy())
            for value in model.graph.inputs
            if value.dtype is not None
        ]
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(_TIMED_RUNS):
        for name, session in sessions.items():
            begin = time.perf_counter()
            session.run(arrays[name])
            taken[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    rows = [(name, f"{1e3 * seconds:.3f} ms") for name, seconds in medians.items()]
    return [*rows, ("after over before", f"{medians['after'] / medians['before']:.2f}")]
