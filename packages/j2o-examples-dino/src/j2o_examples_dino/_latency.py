"""How long ONNX Runtime and jitted JAX take for the same images, measured in turns in a process of their own.

A new process, because the number of threads that XLA uses on a CPU is settled when its first computation runs.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._features import ModelChoice

_PAUSE_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Latency:
    """Median seconds a run.

    Attributes:
        onnxruntime: Of ONNX Runtime.
        jax: Of the jitted JAX function.
        threads: Number of threads that either could use.
    """

    onnxruntime: float
    jax: float
    threads: int


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings of a measurement.

    Attributes:
        model: The model in JAX.
        onnx: The exported file.
        shape: Shape of the batch of images.
        rounds: How often each of the two is run, in turns.
        single_thread: Whether to use one core instead of all.
    """

    model: ModelChoice
    onnx: str
    shape: tuple[int, int, int, int]
    rounds: int
    single_thread: bool


def can_pin() -> bool:
    """Whether this platform lets a process choose its cores, which measuring one thread needs."""
    return hasattr(os, "sched_setaffinity")


def measure(job: Job) -> Latency:
    """Measure in a process of its own.

    Raises:
        RuntimeError: If that process fails; with the end of what it said.
    """
    # ONNX Runtime runs on the CPU here, so JAX is to do the same, whatever else there may be.
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(job))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(said[-1])
    return Latency(**json.loads(lines[-1]))


def interleaved(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of two functions, run in turns, so that a busy spell of the machine meets both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(2):  # compilation, caches, clock frequency
        first()
        second()
    for _ in range(rounds):
        for function, taken in zip((first, second), times, strict=True):
            # After a run, threads keep a core busy for a while in case there is more to do; that is not to count as
            # the other's time.
            time.sleep(_PAUSE_SECONDS)
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def _measure_here(job: Job) -> Latency:
    if job.single_thread:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    threads = len(os.sched_getaffinity(0)) if can_pin() else os.cpu_count() or 1

    # Only now: the first computation makes XLA's threads.
    import equinox as eqx
    import jax
    import onnxruntime

    images = np.random.default_rng(0).standard_normal(job.shape).astype(np.float32)
    weights, structure = eqx.partition(job.model.build(), eqx.is_array)
    run = jax.jit(lambda weights, images: eqx.combine(weights, structure)(images))
    on_device = jax.device_put(images)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if job.single_thread else 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images}

    def run_jax() -> None:
        for tokens in run(weights, on_device):
            tokens.block_until_ready()

    runtime, jitted = interleaved(lambda: session.run(None, feed), run_jax, job.rounds)
    return Latency(runtime, jitted, threads)


def _main() -> None:
    fields = json.loads(sys.argv[1])
    job = Job(
        model=ModelChoice(**fields["model"]),
        onnx=str(Path(fields["onnx"])),
        shape=tuple(fields["shape"]),
        rounds=fields["rounds"],
        single_thread=fields["single_thread"],
    )
    try:
        result = _measure_here(job)
    except Exception as error:  # noqa: BLE001 - the other process raises it again
        sys.exit(" ".join(f"{type(error).__name__}: {error}".splitlines()))
    sys.stdout.write(json.dumps(dataclasses.asdict(result)) + "\n")


if __name__ == "__main__":
    _main()
