"""Two loss curves and how far apart they are."""

from pathlib import Path

import numpy as np

from ._experiment import Outcome, Request


def draw(request: Request, outcome: Outcome, path: Path) -> None:
    """Draw an outcome.

    Args:
        request: What was asked for.
        outcome: What was found.
        path: The picture to write; its ending says which kind.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    steps = np.arange(1, request.steps + 1)
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, differences = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    losses.plot(steps, outcome.jax.losses, color="tab:blue", linewidth=4, alpha=0.4, label="JAX")
    losses.plot(steps, outcome.onnxruntime.losses, color="black", linewidth=1, linestyle="--", label="ONNX Runtime")
    losses.set_ylabel("loss of the batch")
    losses.legend()
    losses.set_title(f"{request.model}, batches of {request.batch}, AdamW in the graph, opset {request.opset}")
    # Where both losses are the same number, a logarithm has no place for the difference.
    differences.semilogy(steps, np.maximum(outcome.differences, 1e-9), ".", color="tab:red", markersize=3)
    differences.set_ylim(5e-10, max(1e-3, 2 * outcome.differences.max()))
    differences.set_ylabel("relative difference\n(1e-9: none)")
    differences.set_xlabel("step")
    figure.savefig(path, dpi=120)
