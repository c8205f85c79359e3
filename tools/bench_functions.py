"""Cost of `functions=` for a decoder of equal blocks: `python tools/bench_functions.py [DIM]`.

Export in CPU seconds, the least of three in turn; the file without weights; then CPU time of a run on one thread, the
two programs in turn, as the ratio of the medians.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime

from j2o_core import OnnxProgram, to_onnx
from j2o_examples_gpt import Gpt, GptConfig, cache_specs
from j2o_examples_gpt._model import Block

DEPTHS = (3, 12, 96)
ROUNDS = 60


def decoder(depth: int, dim: int, chosen: list[Any]) -> Callable[[], OnnxProgram]:
    """Exports a decoder of that many blocks."""
    config = GptConfig(vocabulary=256, positions=64, dim=dim, depth=depth, heads=4)
    model = Gpt(config, key=jax.random.key(0))
    specs = [jax.ShapeDtypeStruct(("B", "T"), np.int32), cache_specs(config, "B", "C")]
    options: dict[str, Any] = {"state": {"cache": 1}, "constraints": ["C >= T"], "opset": 24, "functions": chosen}
    return lambda: to_onnx(model, specs, **options)


def cpu_seconds(run: Callable[..., Any], *args: Any) -> float:
    """CPU time of a call."""
    begin = time.process_time()
    run(*args)
    return time.process_time() - begin


def session(program: OnnxProgram, path: Path) -> tuple[Any, int]:
    """A session on one thread, and the size of the file without weights."""
    program.save(path, external_data=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options), path.stat().st_size


def feed(of: Any, sizes: dict[str, int]) -> dict[str, Any]:
    """Inputs of a session."""
    rng = np.random.default_rng(0)
    arrays = {}
    for value in of.get_inputs():
        shape = [sizes.get(size, size) for size in value.shape]
        arrays[value.name] = np.zeros(shape, np.int32) if "int" in value.type else rng.normal(size=shape).astype("f")
    return arrays


def main(dim: int) -> None:
    """Measure and print."""
    ways = {"functions": [Block], "inlined": []}
    exports = {(depth, way): decoder(depth, dim, chosen) for depth in DEPTHS for way, chosen in ways.items()}
    for export in (exports[3, "functions"], exports[3, "inlined"]):
        export()
    times: dict[Any, list[float]] = {key: [] for key in exports}
    for _, key in itertools.product(range(3), exports):
        times[key].append(cpu_seconds(exports[key]))
    for depth, way in exports:
        print(f"{depth:3} blocks, {way:10} {min(times[depth, way]):6.2f} s")
    for way in ways:
        print(f"96 over 3 blocks, {way:10} {min(times[96, way]) / min(times[3, way]):.2f}")
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for way in ways:
            sessions[way], size = session(exports[12, way](), Path(folder) / f"{way}.onnx")
            print(f"12 blocks, {way:10} {size} bytes without weights")
        for tokens in (1, 16):
            arrays = feed(sessions["inlined"], {"B": 2, "T": tokens, "C": 32})
            results = [one.run(None, arrays) for one in sessions.values()]
            equal = all(map(np.array_equal, *results))
            taken: dict[str, list[float]] = {way: [] for way in sessions}
            for number in range(ROUNDS):
                for way in list(sessions)[:: 1 if number % 2 else -1]:
                    taken[way].append(cpu_seconds(sessions[way].run, None, arrays))
            ratio = statistics.median(taken["functions"]) / statistics.median(taken["inlined"])
            print(f"{tokens} tokens: functions over inlined {ratio:.3f}, results {'equal' if equal else 'differ'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
