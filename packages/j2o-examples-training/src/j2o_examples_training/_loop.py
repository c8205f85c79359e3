"""The loop around an exported step: plain ONNX Runtime, for which a file and its first inputs are enough."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ._digits import Batch


def open_session(model: Path, *, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        model: An `.onnx` file.
        threads: Number of threads inside an operator. More than one is slower for models as small as these.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def train(session: Any, state: dict[str, np.ndarray], batch: Batch) -> float:
    """Run an exported step once.

    Args:
        session: A session on the step.
        state: Parameters and optimizer state by the names of the step's inputs; their new values take their places.
        batch: What to train on.

    Returns:
        The loss before the step.
    """
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(None, {**state, **batch._asdict()}), strict=True))
    loss = float(results.pop("loss"))
    state.update({name.removeprefix("next."): value for name, value in results.items()})
    return loss


def run(session: Any, state: Mapping[str, np.ndarray], batch: Batch) -> float:
    """Run a graph that takes the model, images and labels, and gives a number."""
    names = {value.name for value in session.get_inputs()}
    feed = {name: value for name, value in {**state, **batch._asdict()}.items() if name in names}
    (result,) = session.run(None, feed)
    return float(result)
