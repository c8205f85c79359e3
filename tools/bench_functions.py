"""Cost of `functions=` for a decoder of equal blocks: `python tools/bench_functions.py [DIM]`.

Export in CPU seconds, in turn, with the garbage of the exports before collected; the file without weights; how many
operators run after ONNX Runtime's passes; then CPU time of a run on one thread, the median of the ratios of pairs of
sessions. Before a run are others of its session (warm: two sessions in strict turn would drive each other's weights out
of the caches), or a write of 48 MB (cold).
"""

import collections
import gc
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
import onnx
import onnxruntime

from j2o_core import OnnxProgram, to_onnx
from j2o_examples_gpt import Gpt, GptConfig, cache_specs
from j2o_examples_gpt._model import Block

DEPTHS = (3, 12, 96)
EXPORTS = 21
PAIRS, ROUNDS, RUNS = 8, 10, 8


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


def session(path: Path) -> Any:
    """A session on one thread; it writes the graph that it runs beside the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    return onnxruntime.InferenceSession(str(path), options)


def operators(path: Path) -> collections.Counter[str]:
    """How many nodes of each operator a session of a file runs."""
    graph = onnx.load(path.with_suffix(".optimized"), load_external_data=False).graph
    return collections.Counter(node.op_type for node in graph.node)


def run_times(of: Any, arrays: dict[str, Any], junk: np.ndarray[Any, Any] | None) -> list[float]:
    """CPU times of some runs of a session; with `junk`, which is written in between, with cold caches."""
    if junk is None:
        of.run(None, arrays)
        of.run(None, arrays)
    times = []
    for _ in range(RUNS if junk is None else 2):
        if junk is not None:
            junk += 1
        times.append(cpu_seconds(of.run, None, arrays))
    return times


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
    for number, key in itertools.product(range(EXPORTS), exports):
        if number < 3 or key[1] == "functions":
            gc.collect()
            times[key].append(cpu_seconds(exports[key]))
    for depth, way in exports:
        print(f"{depth:3} blocks, {way:10} {min(times[depth, way]):6.2f} s")
    for way, of in itertools.product(ways, (min, statistics.median)):
        print(f"96 over 3 blocks, {way:10} {of(times[96, way]) / of(times[3, way]):.2f} ({of.__name__})")
    with tempfile.TemporaryDirectory() as folder:
        paths = {way: Path(folder) / f"{way}.onnx" for way in ways}
        for way, path in paths.items():
            exports[12, way]().save(path, external_data=True)
            print(f"12 blocks, {way:10} {path.stat().st_size} bytes without weights")
        taken: dict[Any, list[float]] = collections.defaultdict(list)
        junk = np.zeros(6_000_000)
        for number in range(PAIRS):
            order = list(ways)[:: 1 if number % 2 else -1]
            sessions = {way: session(paths[way]) for way in order}
            for tokens, cold in itertools.product((1, 16), (False, True)):
                arrays = feed(sessions["inlined"], {"B": 2, "T": tokens, "C": 32})
                assert all(map(np.array_equal, *(one.run(None, arrays) for one in sessions.values())))
                found: dict[str, list[float]] = {way: [] for way in ways}
                for _, way in itertools.product(range(ROUNDS), order):
                    found[way] += run_times(sessions[way], arrays, junk if cold else None)
                for way in ways:
                    taken[tokens, cold, way].append(statistics.quantiles(found[way])[0])
        print(
            "operators after ONNX Runtime's passes:",
            *({way: operators(path).total() for way, path in paths.items()}.items()),
        )
        assert operators(paths["functions"]) == operators(paths["inlined"])
        for tokens, cold in itertools.product((1, 16), (False, True)):
            pairs = zip(*(taken[tokens, cold, way] for way in ways), strict=True)
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"{tokens:2} tokens, {'cold' if cold else 'warm'}: functions over inlined {ratio:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
