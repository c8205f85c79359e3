"""Waveform to embedding by an encoder of Bird-MAE-Base's size, ONNX Runtime beside jitted JAX on one thread.

Run as a script, it is the measurement in one process: the number of XLA's threads is settled at its first computation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

from one_thread import keep_to_one_core

ROUNDS = 20
OPSET = 23


def measure() -> dict[str, Any]:
    """The figures, by name, measured in a new process.

    Returns:
        `onnxruntime` and `jax`: median microseconds for one clip of five seconds. `difference`: the largest of an
        embedding, relative to its largest magnitude. `operators`: how often each occurs in the graph.
    """
    done = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure_here() -> dict[str, Any]:
    keep_to_one_core()
    import jax
    import numpy as np

    from j2o_examples_birdjepa import BIRD_MAE, BirdMae, Pipeline, export
    from latency import latency

    encoder = BirdMae(BIRD_MAE["base"], key=jax.random.key(0))
    program = export(encoder, opset=OPSET, batch=1)
    waveform = np.random.default_rng(0).standard_normal((1, 160_000)).astype(np.float32)
    function = Pipeline(encoder, None, "waveform")
    want = np.asarray(jax.jit(lambda waves: function(waves)["embedding"])(waveform))
    got = program(waveform)["embedding"]
    return latency(program, function, (waveform,), ROUNDS) | {
        "difference": float(np.abs(got - want).max() / np.abs(want).max()),
        "operators": Counter(node.op_type for node in program.model.graph.all_nodes()),
    }


if __name__ == "__main__":
    print(json.dumps(_measure_here()))
