"""The same training twice, in JAX and in ONNX Runtime: from the same start, on the same batches."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

import j2o_core

from ._digits import SIZE, Batch, batches, digits
from ._loop import open_session, run, train
from ._models import MODELS
from ._step import accuracy, initial_state, make_step

_SPECS = (("B", 1, SIZE, SIZE), jax.ShapeDtypeStruct(("B",), np.int32))


STEP, ACCURACY, START = "step.onnx", "accuracy.onnx", "start.npz"


@dataclasses.dataclass(frozen=True)
class Request:
    """The settings of a request.

    Attributes:
        model: A name in `MODELS`.
        steps: Number of steps.
        batch: Images in a batch.
        learning_rate: Of Adam with decoupled weight decay.
        opset: ONNX opset of the graphs.
        seed: Seed of weights, data and order.
    """

    model: str = "vit"
    steps: int = 200
    batch: int = 32
    learning_rate: float = 3e-3
    opset: int = 21
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Curve:
    """One training.

    Attributes:
        losses: `[steps]` loss of each step's batch before the step.
        accuracy: Share of unseen images that are recognised after the last step.
        seconds: Median time of a step.
    """

    losses: np.ndarray
    accuracy: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results.

    Attributes:
        program: The exported step.
        jax: Training by `jax.jit`.
        onnxruntime: Training by ONNX Runtime.
        export_seconds: Time to export the step.
    """

    program: j2o_core.OnnxProgram
    jax: Curve
    onnxruntime: Curve
    export_seconds: float

    @property
    def differences(self) -> np.ndarray:
        """`[steps]` difference of the losses, relative to JAX's."""
        wanted, got = self.jax.losses, self.onnxruntime.losses
        result: np.ndarray = np.abs(got - wanted) / np.abs(wanted)
        return result


class Trainer:
    """A model, its optimizer and its data, before the first step.

    Attributes:
        step: The training step as a JAX function.
        model: The model.
        opt_state: The optimizer's state.
        unseen: Images to measure the accuracy on.
    """

    def __init__(self, request: Request):
        self.request = request
        optimizer = optax.adamw(request.learning_rate)
        self.step = make_step(optimizer)
        self.model = MODELS[request.model](jax.random.key(request.seed))
        self.opt_state = initial_state(optimizer, self.model)
        self.unseen = digits(1024, request.seed + 1)
        self._data = digits(max(4096, request.batch), request.seed)

    def batches(self) -> list[Batch]:
        """The batches in their order, the same at every call."""
        return list(batches(self._data, self.request.batch, self.request.steps, self.request.seed))

    def export(self) -> j2o_core.OnnxProgram:
        """The step as one graph: parameters and optimizer state go in and come out, for any number of images."""
        return j2o_core.to_onnx(
            self.step,
            [self.model, self.opt_state, *_SPECS],
            opset=self.request.opset,
            state=["model", "opt_state"],
            output_names=["loss"],
        )

    def export_accuracy(self) -> j2o_core.OnnxProgram:
        """The accuracy of a model as a graph, whose parameters have the names that they have in the step."""
        return j2o_core.to_onnx(accuracy, [self.model, *_SPECS], opset=self.request.opset, output_names=["accuracy"])

    def train_in_jax(self) -> Curve:
        """Train with the jitted step."""
        step: Any = eqx.filter_jit(self.step)
        state: Any = (self.model, self.opt_state)

        def one(batch: Batch) -> float:
            nonlocal state
            *state, loss = step(*state, *batch)
            return float(loss)

        step(*state, *self.batches()[0])  # compiles
        losses, seconds = _timed(one, self.batches())
        return Curve(losses, float(eqx.filter_jit(accuracy)(state[0], *self.unseen)), seconds)

    def write(self, program: j2o_core.OnnxProgram, folder: Path) -> None:
        """Write what training needs: the step, the accuracy, and the state before the first step."""
        program.save(folder / STEP)
        self.export_accuracy().save(folder / ACCURACY)
        feed = program.feed(self.model, self.opt_state, *self.unseen)
        start: dict[str, Any] = {name: feed[name] for name in program.state.values()}
        np.savez(folder / START, **start)

    def train_in_onnxruntime(self, folder: Path) -> Curve:
        """Train with the files that `write` wrote."""
        with np.load(folder / START) as start:
            state = dict(start)
        session = open_session(folder / STEP)
        train(session, dict(state), self.batches()[0])  # the runtime plans its memory
        losses, seconds = _timed(lambda batch: train(session, state, batch), self.batches())
        return Curve(losses, run(open_session(folder / ACCURACY), state, self.unseen), seconds)


def _timed(step: Callable[[Batch], float], batches: Iterable[Batch]) -> tuple[np.ndarray, float]:
    """The results of a step on each batch, and the median of the times that it took."""
    losses, seconds = [], []
    for batch in batches:
        start = time.perf_counter()
        losses.append(step(batch))
        seconds.append(time.perf_counter() - start)
    return np.array(losses), float(np.median(seconds))


def compare(request: Request, folder: Path) -> Outcome:
    """Export the step, train in JAX and from the files alone in ONNX Runtime.

    Args:
        request: What to train.
        folder: Where to write `step.onnx`, `accuracy.onnx` and `start.npz`, the state before the first step.

    Raises:
        J2oError: If the export fails.
    """
    trainer = Trainer(request)
    start = time.perf_counter()
    program = trainer.export()
    export_seconds = time.perf_counter() - start
    trainer.write(program, folder)
    return Outcome(program, trainer.train_in_jax(), trainer.train_in_onnxruntime(folder), export_seconds)
