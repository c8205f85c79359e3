"""The results, as a table of plain text."""

from ._experiment import Curve, Outcome, Request


def table(request: Request, outcome: Outcome) -> str:
    """Lay out an outcome.

    Args:
        request: What was asked for.
        outcome: What was found.
    """
    shown = sorted({1, *(request.steps * quarter // 4 for quarter in range(1, 5))} - {0})
    rows: list[tuple[str, ...]] = [("step", "loss, JAX", "ONNX Runtime", "relative difference")]
    for step in shown:
        wanted, got = outcome.jax.losses[step - 1], outcome.onnxruntime.losses[step - 1]
        rows.append((str(step), f"{wanted:.6f}", f"{got:.6f}", f"{outcome.differences[step - 1]:.1e}"))
    rows += [
        ("largest", "", "", f"{outcome.differences.max():.1e}"),
        ("unseen digits recognised", *(f"{curve.accuracy:.1%}" for curve in _curves(outcome)), ""),
        ("median time of a step", *(f"{curve.seconds * 1e3:.1f} ms" for curve in _curves(outcome)), ""),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    model = outcome.program.model
    arrays = len(outcome.program.state)
    return "\n".join(
        [
            f"{request.model}, {request.steps} steps on batches of {request.batch}, opset {request.opset}",
            f"one graph of {sum(1 for _ in model.graph.all_nodes())} nodes, {arrays} arrays of state, "
            f"exported in {outcome.export_seconds:.1f} s",
            "",
            *(line.rstrip() for line in lines),
        ]
    )


def _curves(outcome: Outcome) -> tuple[Curve, Curve]:
    return outcome.jax, outcome.onnxruntime
