"""The time of a decoder of GPT-2's size, ours and torch.onnx's, reading a prompt and one token more.

Both are one file for any number of tokens and any length of the cache; both give the logits of the last token. Run as a
script, it is the measurement in a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPSETS = (21, 24)
PROMPT = 128
ROUNDS = 15
# Tokens are read several times a round, as one takes a tenth of the time of a prompt.
TOKENS_A_ROUND = 5
STEPS = {"prefill": (PROMPT, 0), "token": (1, PROMPT)}


def export(folder: Path) -> dict[str, Path]:
    """Our decoder of GPT-2's size with random weights, as files by opset."""
    import jax

    import j2o_examples_gpt

    config = j2o_examples_gpt.CONFIGS["gpt2-small"]
    model = j2o_examples_gpt.Gpt(config, key=jax.random.key(0))
    files = {f"ours {opset}": folder / f"gpt{opset}.onnx" for opset in OPSETS}
    for opset, path in zip(OPSETS, files.values(), strict=True):
        j2o_examples_gpt.export(model, config, opset=opset).save(path)
    return files


def latencies(files: Mapping[str, Path], rounds: int = ROUNDS) -> dict[str, dict[str, dict[str, float]]]:
    """Median and least milliseconds of each step, all models in turns in one process.

    It is the time that one thread computed: what else the machine does counts as little as it can.
    """
    command = [sys.executable, __file__, str(rounds), json.dumps({name: str(path) for name, path in files.items()})]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return result


def _latencies_here(rounds: int, files: Mapping[str, str]) -> dict[str, dict[str, dict[str, float]]]:
    import onnxruntime

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # The session that a process opens first was found 3% slower than one of the same file later: it is not measured.
    runs, taken, sessions = {}, {}, []
    for name, path in [next(iter(files.items())), *files.items()]:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        sessions.append(session)
        for step, (tokens, filled) in STEPS.items():
            runs[name, step] = session, _feed(session, tokens, filled)
            taken[name, step] = []
    for round_ in range(rounds + 2):
        turn = round_ % len(runs)
        for (name, step), (session, feed) in [*runs.items()][turn:] + [*runs.items()][:turn]:
            for _ in range(TOKENS_A_ROUND if step == "token" else 1):
                begin = time.thread_time()
                session.run_with_ort_values(None, feed)
                if round_ >= 2:  # the first ones warm caches up
                    taken[name, step].append(1e3 * (time.thread_time() - begin))
    return {
        name: {
            step: {"median": statistics.median(taken[name, step]), "least": min(taken[name, step])} for step in STEPS
        }
        for name in files
    }


def _feed(session: Any, tokens: int, filled: int) -> dict[str, Any]:
    """Random tokens, and a cache of random numbers: ours of a fixed capacity, torch's as long as what is in it."""
    import numpy as np
    import onnxruntime

    random = np.random.default_rng(0)
    feed = {}
    for value in session.get_inputs():
        if value.name == "tokens":
            array = random.integers(0, 50257, (1, tokens)).astype(value.type[7:-1])
        elif not value.shape:
            array = np.array(filled, np.int32)
        else:
            _, heads, _, size = value.shape
            length = PROMPT + 1 if value.name.startswith("cache.") else filled
            array = random.standard_normal((1, heads, length, size)).astype(np.float32)
        feed[value.name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    return feed


if __name__ == "__main__":
    print(json.dumps(_latencies_here(int(sys.argv[1]), json.loads(sys.argv[2]))))
