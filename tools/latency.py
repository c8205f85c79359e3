"""The time of an exported program beside that of the function, compiled by JAX, in one process."""

import time
from typing import Any

import jax
import numpy as np

from j2o_core.program._call import call_arrays
from j2o_core.program._session import Session, as_fed


def latency(exported: Any, fn: Any, args: Any, rounds: int) -> dict[str, float]:
    """Medians in microseconds of ONNX Runtime and of jitted JAX, taken in turn, both from NumPy to NumPy."""
    inputs = exported.traced.inputs
    arrays = call_arrays(inputs.leaves, inputs.flatten(args))
    session = Session(exported.model, threads=1).session
    feed = dict(zip(exported.input_names, map(as_fed, arrays), strict=True))
    compiled = jax.jit(
        lambda *arrays: [leaf for leaf in jax.tree.leaves(inputs.call(fn, arrays)) if hasattr(leaf, "dtype")]
    )
    jax.block_until_ready(compiled(*arrays))
    times: dict[str, list[float]] = {"onnxruntime": [], "jax": []}
    for _ in range(rounds):
        for name, run in (
            ("onnxruntime", lambda: session.run(None, feed)),
            ("jax", lambda: jax.block_until_ready(compiled(*arrays))),
        ):
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: round(float(np.median(values)) * 1e6, 1) for name, values in times.items()}
