"""The results of a demonstration, as a table of plain text."""

from collections.abc import Sequence

from ._compare import Difference, Side
from ._demonstration import Outcome, Request
from ._latency import Latency


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(max(map(len, rows)))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))]
        ).rstrip()
        for row in rows
    ]


def _latency_row(name: str, latency: Latency | str) -> list[str]:
    if isinstance(latency, str):
        return [name, "-", "-", "-"]
    ratio = latency.jax / latency.onnxruntime
    return [name, f"{latency.onnxruntime * 1e3:.1f} ms", f"{latency.jax * 1e3:.1f} ms", f"{ratio:.2f}"]


def table(request: Request, outcome: Outcome) -> str:
    """Lay out an outcome.

    Args:
        request: What was asked for.
        outcome: What was found.
    """
    batch = request.batch if isinstance(request.batch, int) else f"{request.batch} (any)"
    tried = "" if isinstance(request.batch, int) else f" {request.batch} = 1, 2, 5"
    lines = [
        str(request.model),
        f"images {batch} x 3 x {request.size} x {request.size}, opset {request.opset}",
        "",
    ]
    rows = [["ONNX Runtime against JAX", "max abs", "relative"]]
    for where, parities in (("photo", outcome.photo), (f"random images{tried}", outcome.random)):
        rows += [[f"  {where}: {p.output}", f"{p.max_abs:.2e}", f"{p.relative:.2e}"] for p in parities]
    lines += [*_columns(rows), ""]

    if request.rounds:
        images = request.batch if isinstance(request.batch, int) else 1
        plural = "1 image" if images == 1 else f"{images} images"
        default = outcome.all_threads
        threads = f"default, {default.threads} cores" if isinstance(default, Latency) else "default"
        rows = [
            [f"median of {request.rounds} runs, {plural}", "ONNX Runtime", "JAX, jitted", "JAX / ONNX Runtime"],
            _latency_row("  one thread", outcome.single_thread),
            _latency_row(f"  threads: {threads}", outcome.all_threads),
        ]
        lines += _columns(rows)
        reasons = {why for why in (outcome.single_thread, outcome.all_threads) if isinstance(why, str)}
        lines += [*(f"  not measured: {why}" for why in sorted(reasons)), ""]

    lines += [
        *_columns(
            [
                ["file size", f"{outcome.file_bytes / 1e6:.1f} MB"],
                ["time to build", f"{outcome.build_seconds:.2f} s"],
                ["time to export", f"{outcome.export_seconds:.2f} s"],
                ["time to verify", f"{outcome.verify_seconds:.2f} s"],
                ["nodes", str(outcome.operators.total())],
                *([f"  {name}", str(count)] for name, count in sorted(outcome.operators.items(), key=_by_count)),
            ]
        ),
        "",
        f"graph    {request.output}",
        f"picture  {request.picture}",
        *([f"page     {request.page}"] if request.page else []),
    ]
    return "\n".join(lines)


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def comparison_table(first: Side, second: Side, differences: Sequence[Difference], tolerance: float) -> str:
    """Lay out a comparison, layer by layer.

    Args:
        first: One side.
        second: The other.
        differences: What was found.
        tolerance: The largest relative difference that is accepted.
    """
    rows = [["output", "shape", "max abs", "relative", ""]]
    for difference in differences:
        shape = " x ".join(map(str, difference.shape))
        # Written so that a difference that is not a number is over, too.
        verdict = "" if difference.relative <= tolerance else "over"
        rows.append([difference.name, shape, f"{difference.max_abs:.2e}", f"{difference.relative:.2e}", verdict])
    over = sum(not difference.relative <= tolerance for difference in differences)
    digests = {side.digest for side in (first, second) if side.digest is not None}
    lines = [first.name, f"against {second.name}", ""]
    if len(digests) == 2:
        lines += ["The weights are not the same.", ""]
    found = "all within" if not over else f"{over} of {len(differences)} over"
    return "\n".join([*lines, *_columns(rows), "", f"{found} {tolerance:.0e} of the largest magnitude"])
