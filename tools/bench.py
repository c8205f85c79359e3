"""Measure what j2o promises, print the table and write docs/benchmarks.md. Ends with 1 if a promise is not kept.

    python tools/bench.py            measures ours and quotes the peers' last figures from tools/peers.json
    python tools/bench.py --peers    measures the peers too, in environments below build/peers, and keeps that
    python tools/bench.py --quick    three minutes for a change: what takes longer is left out, and nothing written
    python tools/bench.py --record   keeps the ratios that later runs are compared with

A row that is 5% worse than what is recorded for this processor fails, as one does that breaks a promise.
Times on a busy machine are worth little; ratios are of medians measured in turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import bench_birds
import bench_gpt
import bench_latency
import bench_measures as measures
import bench_recorded

ROOT = measures.ROOT
PAGE = ROOT / "docs" / "benchmarks.md"
PEERS = ROOT / "tools" / "peers.json"
# Operators that a vision transformer should come down to at opset 23, with the least and most that are right.
# Equimo's `features` ends before the last LayerNormalization.
WANTED = {"Attention": (12, 12), "RotaryEmbedding": (12, 24), "LayerNormalization": (24, 25), "Gelu": (12, 12)}

# Two measurements of one graph differ by so much.
NOISE = 0.02
AS_FAST = f"<= 1.00 (noise {NOISE:.0%})"


@dataclasses.dataclass
class Row:
    """One promise.

    Attributes:
        what: what was measured.
        must: the promise.
        found: the figure.
        kept: whether the figure keeps the promise.
        peers: figures of other exporters.
        ratios: figures that become worse as they grow, by model: they are compared with those recorded.
    """

    what: str
    must: str
    found: str
    kept: bool
    peers: str = ""
    ratios: dict[str, float] = dataclasses.field(default_factory=dict)


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="measure the peers too (downloads them)")
    parser.add_argument("--quick", action="store_true", help="only what three minutes suffice for, printed only")
    parser.add_argument("--record", action="store_true", help="record ratios")
    parser.add_argument("--rounds", type=int, help="rounds of the latency measurement")
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    rounds = options.rounds or (8 if options.quick else measures.ROUNDS)

    imports = measures.import_times(1 if options.quick else 5)  # first, while nothing else is warm
    with tempfile.TemporaryDirectory() as folder:
        peers, peer_files, peer_gpt_files = json.loads(PEERS.read_text()), {}, {}
        if options.peers:
            import bench_peers

            peers, peer_files, peer_gpt_files = bench_peers.measure(ROOT / "build" / "peers")
        rows, details = _vision_rows(Path(folder), "S" if options.quick else "SB", peers, peer_files, rounds)
        if peer_gpt_files:
            details.append(_gpt_latency(Path(folder), peers, peer_gpt_files, rounds))
        if not options.quick:
            rows += _gpt_rows(peers)
            bird_rows, bird_operators = _bird_rows()
            rows += bird_rows
            details.append(bird_operators)
        if options.peers:
            PEERS.write_text(json.dumps(peers, indent=1) + "\n")
            subprocess.run([sys.executable, str(ROOT / "tools" / "bench_torch.py")], check=False)
            peers = json.loads(PEERS.read_text())
    rows.append(_rewrite_row())
    rows += _import_rows(imports, peers)
    rows.append(_programs_row([f"--{name}" for name in ("quick", "record") if getattr(options, name)]))
    rows += _torch_rows(peers)
    rows.append(_recorded_row(rows, record=options.record))
    if not options.quick:
        rows.append(_primitives_row(peers))
    page = _page(rows, details, peers)
    if not options.quick:
        PAGE.write_text(page)
    print(page)
    return 0 if all(row.kept for row in rows) else 1


def _vision_rows(
    folder: Path, sizes: str, peers: dict[str, Any], peer_files: dict[str, Path], rounds: int
) -> tuple[list[Row], list[str]]:
    import onnx_ir as ir

    import hand_made_vit

    rows, details = [], []
    files: dict[str, dict[str, Path]] = {size: {} for size in sizes}
    counts = {}
    accuracy = {}
    made = {size: {name: make(size) for name, make in measures.MODELS.items()} for size in files}
    models = made["S"]
    for size, paths in files.items():
        for opset in (21, 23):
            path = paths[f"hand-made {opset}"] = folder / f"hand{size}{opset}.onnx"
            ir.save(hand_made_vit.build(opset, size), path)
            for name, fn in made[size].items():
                path = paths[f"{name} {opset}"] = folder / f"{name[0]}{size}{opset}.onnx"
                program = measures.export(fn, path, opset)
                if size == "S":
                    counts[name, opset] = measures.operators(path)
                    if opset == 21:
                        accuracy[name] = program.verify().relative
    rows.append(
        Row(
            "DINOv3-S/16, 224 px, opset 21: ONNX Runtime against JAX, relative to the largest magnitude",
            "<= 1e-5",
            _each(accuracy, "{:.1e}"),
            max(accuracy.values()) <= 1e-5,
        )
    )
    for opset, most in ((21, 500), (23, 300)):
        found = {name: counts[name, opset].total() for name in models}
        theirs = _peer_figures(peers, lambda figures, o=str(opset): figures.get("nodes", {}).get(o), "{}")
        rows.append(
            Row(f"nodes at opset {opset}", f"<= {most}", _each(found, "{}"), max(found.values()) <= most, theirs)
        )
    for op_type, (least, most) in WANTED.items():
        found = {name: counts[name, 23][op_type] for name in models}
        must = str(least) if least == most else f"{least} to {most}"
        kept = all(least <= count <= most for count in found.values())
        rows.append(Row(f"{op_type} at opset 23", must, _each(found, "{}"), kept))
    files["S"] |= peer_files
    details += [_latency(rows, size, paths, peers, rounds) for size, paths in files.items()]
    details.append(_export_time(rows, models, folder, peers))
    symbolic = folder / "symbolic.onnx"
    worst = {}
    for name, fn in models.items():
        measures.export(fn, symbolic, 21, batch="B")
        worst[name] = measures.runs_at(symbolic, fn, (1, 2, 5))
    rows.append(
        Row(
            "symbolic batch: one file at 1, 2 and 5 images, largest relative difference",
            "<= 1e-5",
            _each(worst, "{:.1e}"),
            max(worst.values()) <= 1e-5,
        )
    )
    return rows, details


def _latency(rows: list[Row], size: str, files: dict[str, Path], peers: dict[str, Any], rounds: int) -> str:
    times = bench_latency.latencies(files, "bench_measures:feeds", rounds)
    milliseconds = {name: by_feed["image"].median for name, by_feed in times.items()}
    lines = ["| model | ms | over hand-made |", "| --- | ---: | ---: |"]
    ratios = {}
    for name, value in milliseconds.items():
        ratios[name] = value / milliseconds[f"hand-made {name.rpartition(' ')[2]}"]
        lines.append(f"| {name} | {value:.1f} | {ratios[name]:.3f} |")
    for opset in (21, 23):
        found = {name: ratios[f"{name} {opset}"] for name in measures.MODELS}
        for peer, figures in peers.items():
            if isinstance(figures, dict) and f"{peer} {opset}" in ratios:
                figures["latency over hand-made"] = round(ratios[f"{peer} {opset}"], 2)
        theirs = _peer_figures(peers, lambda figures: figures.get("latency over hand-made"), "{:.2f}")
        what = f"DINOv3-{size}/16: latency, one thread, opset {opset}, over the hand-made graph"
        kept = max(found.values()) <= 1 + NOISE
        rows.append(Row(what, AS_FAST, _each(found, "{:.3f}"), kept, theirs if size == "S" else "", found))
    return f"## DINOv3-{size}/16: time of one thread, medians in turns\n\n" + "\n".join(lines)


def _export_time(rows: list[Row], models: dict[str, Any], folder: Path, peers: dict[str, Any]) -> str:
    lines = [
        "| model | caches | make_jaxpr s | writing s | export s | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    ratios = {}
    for name, fn in models.items():
        for clear in (False, True):
            times = measures.export_times(fn, folder, clear=clear)
            ratio = times["export"] / (times["make_jaxpr"] + times["write"])
            if not clear:
                ratios[name] = ratio
            caches = "cleared each time" if clear else "warm, new function"
            figures = " | ".join(f"{times[what]:.2f}" for what in ("make_jaxpr", "write", "export"))
            lines.append(f"| {name} | {caches} | {figures} | {ratio:.2f} |")
    theirs = _peer_figures(peers, lambda figures: figures.get("export seconds"), "{} s")
    what = "warm export over jax.make_jaxpr and writing the bytes"
    rows.append(Row(what, "<= 4", _each(ratios, "{:.2f}"), max(ratios.values()) <= 4, theirs))
    return "## Export time\n\n" + "\n".join(lines)


def _gpt_latency(folder: Path, peers: dict[str, Any], peer_files: dict[str, Path], rounds: int) -> str:
    """Measure our decoder beside the peers', note our ratios with them, and give the table of milliseconds."""
    found = bench_latency.latencies({**bench_gpt.export(folder), **peer_files}, "bench_gpt:feeds", rounds)
    steps = bench_gpt.STEPS
    lines = [
        f"| model | {' | '.join(f'{step} ms | least' for step in steps)} |",
        "| --- |" + " ---: |" * 2 * len(steps),
    ]
    for name, figures in found.items():
        cells = (f"{figures[step].median:.1f} | {figures[step].least:.1f}" for step in steps)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for peer, opset in (name.rsplit(" ", 1) for name in peer_files):
        ours, theirs = found[f"ours {opset}"], found[f"{peer} {opset}"]
        ratios = {step: round(ours[step].median / theirs[step].median, 3) for step in steps}
        peers[peer].setdefault("our gpt latency over it", {})[opset] = ratios
    return "## The decoder: time of one thread, medians in turns\n\n" + "\n".join(lines)


def _gpt_rows(peers: dict[str, Any]) -> list[Row]:
    """Ratios as they were found when the peers were measured: without them there is nothing to divide by."""
    texts = {
        "prefill": f"a prompt of {bench_gpt.PROMPT} tokens",
        "token": f"one token with {bench_gpt.PROMPT} remembered",
    }
    rows = []
    for peer, figures in peers.items():
        ratios = figures.get("our gpt latency over it", {}) if isinstance(figures, dict) else {}
        for step, text in texts.items():
            found = {f"opset {opset}": by_step[step] for opset, by_step in ratios.items()}
            if found:
                what = f"GPT-2 small, {text}: time of one thread, over the export by {peer} of transformers' model"
                rows.append(Row(what, AS_FAST, _each(found, "{:.3f}"), max(found.values()) <= 1 + NOISE))
    return rows


def _bird_rows() -> tuple[list[Row], str]:
    """The encoder of sound beside jitted JAX, and the table of its operators."""
    found = bench_birds.measure()
    ratio, nodes = found["onnxruntime"] / found["jax"], sum(found["operators"].values())
    what = f"Bird-MAE-Base, waveform to embedding, opset {bench_birds.OPSET}"
    rows = [
        Row(
            f"{what}: time of one thread, over jitted JAX",
            AS_FAST,
            f"{ratio:.3f}",
            ratio <= 1 + NOISE,
            ratios={"ours": ratio},
        ),
        Row(
            f"{what}: difference from JAX, relative to the largest magnitude",
            "<= 1e-4",
            f"{found['difference']:.1e}",
            found["difference"] <= 1e-4,
        ),
    ]
    operators = sorted(found["operators"].items(), key=lambda item: (-item[1], item[0]))
    lines = ["| operator | nodes |", "| --- | ---: |", *(f"| {name} | {count} |" for name, count in operators)]
    return rows, f"## Bird-MAE-Base, waveform to embedding: {nodes} nodes\n\n" + "\n".join(lines)


def _rewrite_row() -> Row:
    found = measures.rewrite_seconds()
    least = min(equations for equations, _ in found.values())
    seconds = {f"opset {opset}": seconds for opset, (_, seconds) in found.items()}
    what = f"all rewrites, on a transformer of {least:,} equations that has everything written by hand"
    return Row(what, "<= 3 s", _each(seconds, "{:.1f} s"), least >= 10_000 and max(seconds.values()) <= 3)


def _programs_row(options: list[str]) -> Row:
    command = [sys.executable, str(ROOT / "tools" / "bench_programs.py"), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if "--quick" in options:
        print(done.stdout)
    what = "[small programs](benchmarks-programs.md): time of one thread over that of jitted JAX"
    return Row(what, "all", done.stdout.strip().splitlines()[-1], done.returncode == 0)


def _torch_rows(peers: dict[str, Any]) -> list[Row]:
    """Our times over those of torch's graphs, as they were found when torch was measured."""
    rows = []
    for peer, figures in peers.items():
        found = figures.get("our latency over it", {}) if isinstance(figures, dict) else {}
        ratios = {name: row["ratio"] for name, row in found.get("rows", {}).items()}
        if ratios:
            slower = {name: ratio for name, ratio in ratios.items() if ratio > 1 + NOISE}
            what = f"[{len(ratios)} models](benchmarks-torch.md): time of one thread, over the export by {peer}"
            rows.append(Row(what, AS_FAST, _each(slower, "{:.3f}") or "all", not slower))
    return rows


def _recorded_row(rows: list[Row], *, record: bool) -> Row:
    found = {
        f"{row.what}, {name}": bench_recorded.Ratio(ratio, ratio * (1 - NOISE), ratio * (1 + NOISE))
        for row in rows
        for name, ratio in row.ratios.items()
    }
    worse = bench_recorded.worse(found, record=record)
    text = "; ".join(f"{name} {reason}" for name, reason in worse.items()) or f"none of {len(found)}"
    return Row("ratios above that are 5% worse than recorded on this processor", "none", text, not worse)


def _import_rows(times: dict[str, float], peers: dict[str, Any]) -> list[Row]:
    extra = times["first export"] - times["onnx_ir"]
    return [
        Row(
            "after `import jax`: `import j2o_core`",
            "<= 0.2 s",
            f"{times['j2o_core']:.3f} s",
            times["j2o_core"] <= 0.2,
            _peer_figures(peers, lambda figures: figures.get("import seconds"), "{} s"),
        ),
        Row(
            f"after `import jax`: first export of `jnp.sin` over `import onnx_ir` ({times['onnx_ir']:.2f} s)",
            "<= + 0.4 s",
            f"+ {extra:.2f} s",
            extra <= 0.4,
            _peer_figures(peers, lambda figures: figures.get("first export seconds"), "{} s in all"),
        ),
    ]


def _primitives_row(peers: dict[str, Any]) -> Row:
    out = ROOT / "build" / "primitives.jsonl"
    command = [sys.executable, str(ROOT / "tools" / "primitives.py"), "j2o", str(out), "--every", "20"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return Row(
        "primitive sweep, every 20th of JAX's harnesses",
        ">= 75%, no wrong value, no crash",
        done.stdout.strip().splitlines()[-1].partition("   ")[0],
        done.returncode == 0,
        _peer_figures(peers, lambda figures: figures.get("primitives percent"), "{}% of all"),
    )


def _each(figures: dict[str, Any], form: str) -> str:
    """`ours 419, Equimo's 450`."""
    return ", ".join(f"{name} {form.format(figure)}" for name, figure in figures.items())


def _peer_figures(peers: dict[str, Any], pick: Any, form: str) -> str:
    found = {name: pick(figures) for name, figures in peers.items() if isinstance(figures, dict)}
    return _each({name: figure for name, figure in found.items() if figure is not None}, form)


def _page(rows: list[Row], details: list[str], peers: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "onnxruntime", "onnx-ir", "equinox"))
    lines = [
        "# Benchmarks",
        "",
        "DINOv3-S/16, a vision transformer of 12 blocks, as each exporter writes it, in ONNX Runtime on one thread. "
        "Shorter is better; hand-made is a graph that was written node by node.",
        "",
        "![Bars: latency in milliseconds and numbers of nodes, by exporter and opset](benchmarks.svg)",
        "",
        "Below are all promises with what was measured, then the measurements.",
        "",
        "Written by `nox -s bench` (`tools/bench.py`). "
        f"Measured {datetime.date.today().isoformat()} on {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, {versions}. Differences of latency under {NOISE:.0%} are noise.",
        "",
        "| what | must | j2o | | other exporters |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row.what} | {row.must} | {row.found} | {'yes' if row.kept else '**no**'} | {row.peers} |"
            for row in rows
        ),
        "",
        f"Figures of other exporters were measured on {peers['measured']} ({peers['where']}) and are kept in "
        "`tools/peers.json`; `nox -s bench -- --peers` measures them again.",
        *(
            f"- {name}: {figures.get('of') or 'fails: ' + figures['fails']}"
            for name, figures in peers.items()
            if isinstance(figures, dict)
        ),
    ]
    return "\n\n".join(["\n".join(lines), *details]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
