"""Small programs of many kinds: the time of the graph on one thread over that of jitted JAX, and what it runs.

    python tools/bench_programs.py             all rows, written to docs/benchmarks-programs.md
    python tools/bench_programs.py segment     rows with a word in their name, printed only
    python tools/bench_programs.py --quick     on one core only, printed only
    python tools/bench_programs.py --record    keeps the ratios that later runs are compared with

Both run in one process, in turns; a ratio is the median of those of single rounds. The clock is that of the wall, so
the machine has to be quiet: in CPU time, JAX's other threads, which wait for more for a while, count as the graph's.
JAX's own time differs from process to process, by up to 1.9 times, for its threads go to other cores: each row is
measured in a process with one core, too, in CPU time, where it repeats to 2%, also on a busy machine. A row that is
there 5% worse than what is recorded, in three processes, fails. Needs Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import bench_recorded
import one_thread

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks-programs.md"

# One thread for XLA too; read when JAX is first imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

SECONDS = 1.5  # that a row takes
ROUNDS = (9, 400)


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of arrays, and at most how many times JAX's time its graph should take.

    Attributes:
        floor: for rows that take longer: the forms that were measured, and why none is faster.
    """

    name: str
    must: float
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]
    floor: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """The measurements of a program.

    Attributes:
        ratio: time of the graph over time of JAX, the median of single rounds.
        spread: the quarters of these ratios.
        milliseconds: the graph's time, the median.
        nodes: nodes that one run executes, those of loops as often as they are.
        floor: the ratio if a node took no longer than a `Sin` of one number does.
    """

    ratio: float
    spread: tuple[float, float]
    milliseconds: float
    nodes: int
    floor: float


def programs() -> list[Program]:
    """The table."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax
    from jax.scipy import ndimage

    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    def integers(end: int, *shape: int) -> Any:
        return rng.integers(0, end, shape).astype(np.int32)

    rows, segments = normal(4096, 64), integers(512, 4096)
    square = normal(32, 32)
    positive = (square @ square.T + 32 * np.eye(32)).astype(np.float32)
    table = np.sort(normal(1000))
    bytes_ = rng.integers(-128, 128, (2, 256, 256)).astype(np.int8)

    return [
        Program("segment_sum", 1.2, lambda x, i: jax.ops.segment_sum(x, i, 512), (rows, segments)),
        Program(
            "segment_max",
            1.2,
            lambda x, i: jax.ops.segment_max(x, i, 512),
            (rows, segments),
            "ScatterND alone takes 0.9 of JAX's time, ScatterElements 18 times as much. It loses NaN, which is looked "
            "for in the sum of all numbers: a quarter of JAX's time, at 70 GB/s. Sums of columns by a product with "
            "ones take 0.98 of the whole.",
        ),
        Program(
            "scatter-add of rows",
            1.2,
            lambda a, x, i: a.at[i].add(x),
            (normal(512, 64), rows, segments),
            "ScatterND alone is two thirds of the time, the spare row for what is dropped a sixth.",
        ),
        Program("segment_sum of numbers", 1.2, lambda x, i: jax.ops.segment_sum(x, i, 512), (rows[:, 0], segments)),
        Program(
            "map_coordinates, linear",
            1.0,
            lambda x, c: ndimage.map_coordinates(x, list(c), order=1),
            (normal(128, 128), 128 * rng.random((2, 20000)).astype(np.float32)),
            "The four neighbours are read from a frame of zeros, by 48 nodes where comparisons and choices took 89. Of "
            "the time a fifth are the four GatherElements, a sixth the conversions that would saturate, the rest "
            "products, sums and clamps of 20,000 numbers each. GridSample takes 20 ns for each point, and gives other "
            "values where coordinates are above 2**63.",
        ),
        Program("searchsorted of 1e5", 2.0, lambda x, t: jnp.searchsorted(t, x), (normal(100_000), table)),
        Program("interp of 1e5", 2.0, lambda x, t, y: jnp.interp(x, t, y), (normal(100_000), table, normal(1000))),
        Program("histogram of 1e5", 2.0, lambda x: jnp.histogram(x, bins=50)[0], (normal(100_000),)),
        Program(
            "bc,bci->bci", 1.0, lambda a, b: jnp.einsum("bc,bci->bci", a, b), (normal(1024, 32), normal(1024, 32, 3))
        ),
        Program("bi,bi->b", 1.0, lambda a, b: jnp.einsum("bi,bi->b", a, b), (normal(4096, 16), normal(4096, 16))),
        Program("3x3 @ 3", 1.0, lambda a, b: jnp.einsum("bij,bj->bi", a, b), (normal(4096, 3, 3), normal(4096, 3))),
        Program("3x3 @ 3x3", 1.0, lambda a, b: a @ b, (normal(4096, 3, 3), normal(4096, 3, 3))),
        Program(
            "int8 products",
            2.0,
            lambda a, b: jax.lax.dot(a, b, preferred_element_type=jnp.int32),
            (bytes_[0], bytes_[1]),
        ),
        Program(
            "inv of 32",
            11.0,
            jnp.linalg.inv,
            (positive,),
            "The factorization is that of solve, and 32 right sides cost what one does: 1,103 nodes of half a "
            "microsecond, 26 for each column of the factorization. Unrolled they take as long. JAX calls LAPACK, in "
            "0.03 ms.",
        ),
        Program("cholesky of 32", 6.0, jnp.linalg.cholesky, (positive,)),
        Program(
            "solve of 32",
            11.0,
            jnp.linalg.solve,
            (positive, square[0]),
            "A column of the factorization is 26 nodes of 0.3 microseconds and more, two of which look for NaN among "
            "the pivots, and a row of the two triangular systems is 3 and 4. Columns taken off the rest lost digits.",
        ),
        Program("eigh of 32", 100.0, lambda x: jnp.linalg.eigh(x)[0], (positive,)),
        Program("svd of 32", 180.0, lambda x: jnp.linalg.svd(x, compute_uv=False), (square,)),
        Program(
            "normal of 1e5",
            7.5,
            lambda k: jax.random.normal(k, (100_000,)),
            (np.array([0, 7], np.uint32),),
            "The hash is four fifths of the time, half of it exclusive ors and shifts, which ONNX Runtime does one by "
            "one: 0.6 and 0.45 ns where an addition takes 0.2. Smaller blocks, quotients and 64-bit words for shifts "
            "take longer. The quotient of erf_inv as a continued fraction would spare 2% and lose a digit.",
        ),
        Program(
            "rfft 256x1024",
            2.0,
            lambda x: jnp.abs(jnp.fft.rfft(x)),
            (normal(256, 1024),),
            "The three products alone take 0.9 of JAX's time, at 200 GFLOP/s, half of the first one spared by symmetry "
            "(two whole products: 1.5). Their columns are 32, for 34 take half as long again. Parts side by side, as "
            "encoded complex numbers have them, took twice the time to move and to split.",
        ),
        Program("fft2 4x256x256", 2.0, lambda x: jnp.abs(jnp.fft.fft2(x)), (normal(4, 256, 256),)),
        Program("key split in two", 5.5, jax.random.split, (np.array([0, 7], np.uint32),)),
        Program(
            "100 elements of 4 MB set in turns",
            1.5,
            lambda x: lax.fori_loop(0, 100, lambda i, x: x.at[7 * i].set(x[i] + 1), x),
            (normal(2**20),),
            "A Slice and an Add for each element, and one ScatterElements. A loop copies its carry: 17 times JAX's "
            "time.",
        ),
        Program(
            "training step of a CNN",
            1.1,
            _training_step(_plain),
            (*_images(16, 32), *_filters(_PLAIN)),
            "On one core it takes less than JAX's time: JAX runs a part of its convolutions on the other one.",
        ),
        Program(
            "training step of a ResNet",
            1.1,
            _training_step(_residual),
            (*_images(4, 64), *_filters(_RESIDUAL)),
            "Convolutions and products are a third of the time, Concat, Slice, Pad and Transpose around the gradients "
            "of weights much of the rest. Where takes 4 ns for each element of a mask at random, as in gradients of "
            "relu; they are products with a check of their sum, in 0.3 ns. JAX has a part on the other core.",
        ),
    ]


_PLAIN = ((3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 32), (32, 10))
_RESIDUAL = ((7, 7, 3, 32), (3, 3, 32, 32), (3, 3, 32, 32), (3, 3, 32, 64), (3, 3, 64, 64), (1, 1, 32, 64), (64, 10))


def _images(count: int, size: int) -> tuple[Any, Any]:
    """Images, channels last, and their classes."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal((count, size, size, 3)).astype(np.float32), rng.integers(0, 10, count).astype(np.int32)


def _filters(shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    return [(rng.standard_normal(s) / np.sqrt(np.prod(s[:-1]))).astype(np.float32) for s in shapes]


def _training_step(network: Callable[..., Any]) -> Callable[..., Any]:
    """Images, classes and weights to the loss and the weights after a step of gradient descent."""
    import jax
    import jax.numpy as jnp

    def loss(weights: Any, x: Any, y: Any) -> Any:
        logits = network(x, *weights[:-1]).mean((1, 2)) @ weights[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    def step(x: Any, y: Any, *weights: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        return value, [w - 0.01 * g for w, g in zip(weights, gradients, strict=True)]

    return step


def _conv(x: Any, w: Any, stride: int = 1) -> Any:
    from jax import lax

    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _pool(x: Any, size: int) -> Any:
    from jax import lax

    return lax.reduce_window(x, -float("inf"), lax.max, (1, size, size, 1), (1, 2, 2, 1), "SAME")


def _plain(x: Any, first: Any, second: Any, third: Any) -> Any:
    import jax

    x = _pool(jax.nn.relu(_conv(x, first)), 2)
    x = _pool(jax.nn.relu(_conv(x, second)), 2)
    return jax.nn.relu(_conv(x, third))


def _residual(x: Any, stem: Any, a: Any, b: Any, c: Any, d: Any, short: Any) -> Any:
    import jax

    def normalized(x: Any) -> Any:
        centred = x - x.mean((0, 1, 2))
        return centred * jax.lax.rsqrt((centred**2).mean((0, 1, 2)) + 1e-5)

    x = _pool(jax.nn.relu(normalized(_conv(x, stem, 2))), 3)
    x = jax.nn.relu(x + normalized(_conv(jax.nn.relu(normalized(_conv(x, a))), b)))
    branch = normalized(_conv(jax.nn.relu(normalized(_conv(x, c, 2))), d))
    return jax.nn.relu(_conv(x, short, 2) + branch)


def measure(program: Program, folder: Path, *, one_core: bool, node: float) -> Figure:
    """Export a program, compare its numbers with JAX's, and time both in turns; `node` is the seconds of one node."""
    import jax
    import numpy as np

    path = folder / "program.onnx"
    session = _session(program.fn, program.inputs, path)
    feed = dict(zip((one.name for one in session.get_inputs()), program.inputs, strict=True))
    compiled = jax.jit(program.fn)
    arrays = [jax.device_put(x) for x in program.inputs]

    for want, got in zip(jax.tree.leaves(compiled(*arrays)), session.run(None, feed), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * float(np.abs(want).max()), err_msg=program.name)

    def ours() -> None:
        session.run(None, feed)

    def jaxs() -> None:
        jax.block_until_ready(compiled(*arrays))

    clocks = (time.thread_time, time.process_time) if one_core else (time.perf_counter, time.perf_counter)
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + SECONDS
    while len(times) < ROUNDS[0] or (time.perf_counter() < until and len(times) < ROUNDS[1]):
        times.append((_taken(clocks[0], ours), _taken(clocks[1], jaxs)))
    low, middle, high = statistics.quantiles((one / other for one, other in times), n=4)
    seconds, jax_seconds = map(statistics.median, zip(*times, strict=True))
    nodes = executed(path, feed, folder)
    return Figure(middle, (low, high), 1e3 * seconds, nodes, nodes * node / jax_seconds)


def _taken(clock: Callable[[], float], run: Callable[[], None]) -> float:
    begin = clock()
    run()
    return clock() - begin


def _session(fn: Callable[..., Any], inputs: Sequence[Any], path: Path) -> Any:
    """A session of an exported function, with one thread."""
    import j2o_core

    j2o_core.to_onnx(fn, list(inputs)).save(path)
    return one_thread.session(path)


def _seconds_of_a_node(path: Path) -> float:
    """From a chain of a thousand nodes, each of one number."""
    import jax.numpy as jnp
    import numpy as np

    count, number = 1000, np.ones((), np.float32)
    session = _session(lambda x: functools.reduce(lambda y, _: jnp.sin(y), range(count), x), [number], path)
    feed = {session.get_inputs()[0].name: number}
    return min(_taken(time.thread_time, lambda: session.run(None, feed)) for _ in range(50)) / count


def _on_one_core(words: Iterable[str]) -> dict[str, Figure]:
    """The figures of rows from a process that has one core from its beginning: JAX has as many threads as cores."""
    command = [sys.executable, __file__, "--one-core", *words]
    rows = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    return {name: Figure(**figure) for name, figure in json.loads(rows).items()}


def _worse(figures: dict[str, Figure], *, record: bool) -> dict[str, str]:
    """The rows that are worse than recorded; each is measured twice more before, and its least ratio taken over."""
    for _ in range(3):
        found = {
            name: bench_recorded.Ratio(figure.ratio, *figure.spread, figure.nodes) for name, figure in figures.items()
        }
        worse = bench_recorded.worse(found, record=record)
        if not worse:
            break
        again = _on_one_core(worse)
        figures |= {name: min(figures[name], again[name], key=lambda figure: figure.ratio) for name in worse}
    return worse


def executed(path: Path, feed: Mapping[str, Any], folder: Path) -> int:
    """How many nodes one run of a file executes, as ONNX Runtime's profile has them."""
    session = one_thread.session(path, profile=str(folder / "profile"))
    session.run(None, dict(feed))
    events = json.loads(Path(session.end_profiling()).read_text())
    return sum(event.get("cat") == "Node" and event["name"].endswith("_kernel_time") for event in events)


def main() -> int:
    """Run the command; returns 1 if a row is above what it must be, or worse than recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="rows whose name has one of these; all by default")
    parser.add_argument("--one-core", action="store_true", help="print the figures of this process, on one core")
    parser.add_argument("--quick", action="store_true", help="measure on one core only, and compare with the recorded")
    parser.add_argument("--record", action="store_true", help="record the ratios of one core")
    options = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD}"
    if options.one_core:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps({name: dataclasses.asdict(figure) for name, figure in _figures(options.words, one_core=True)}))
        return 0
    alone = _on_one_core(options.words)
    worse = _worse(alone, record=options.record)
    for name, figure in alone.items():
        print(f"{name:34} {figure.ratio:7.2f}, floor {figure.floor:.2f}, {figure.nodes} nodes. {worse.get(name, '')}")
    against = f"{len(worse)} of {len(alone)} rows are worse than recorded"
    if options.quick:
        print(against)
        return int(bool(worse))
    lines, kept, floors = [], [], []
    rows = {program.name: program for program in programs()}
    for name, figure in _figures(options.words, one_core=False):
        program, one_core = rows[name], alone[name]
        kept.append(figure.ratio <= program.must)
        low, high = figure.spread
        lines.append(
            f"| {name} | {program.must:g} | {figure.ratio:.2f} | {low:.2f} to {high:.2f} | "
            f"{'yes' if kept[-1] else '**no**'} | {one_core.ratio:.2f} | {one_core.floor:.2f} | "
            f"{figure.milliseconds:.3f} | {figure.nodes} |"
        )
        if program.floor and not kept[-1]:
            floors.append(f"- **{name}**: {program.floor}")
        print(lines[-1], flush=True)
    if not options.words:
        PAGE.write_text(_page(lines, floors))
    print(f"{sum(kept)} of {len(kept)} rows are at what they must be, {against}")
    return int(bool(worse) or not all(kept))


def _figures(words: Sequence[str], *, one_core: bool) -> Iterator[tuple[str, Figure]]:
    """Measure rows by name in this process."""
    with tempfile.TemporaryDirectory() as folder:
        node = _seconds_of_a_node(Path(folder) / "node.onnx")
        for program in programs():
            if not words or any(word in program.name for word in words):
                yield program.name, measure(program, Path(folder), one_core=one_core, node=node)


def _page(lines: Sequence[str], floors: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "onnxruntime"))
    return "\n".join(
        [
            "# Small programs",
            "",
            "Written by `tools/bench_programs.py`, which `nox -s bench` runs. The time of one thread over that of "
            f"jitted JAX. Measured {datetime.date.today().isoformat()} ({platform.machine()}), "
            f"Python {platform.python_version()}, {versions}, in one process, in turns: a ratio is the median of "
            "those of single rounds, beside it are their quarters. Nodes are those that a "
            "run executes, those of a loop as often as they are. JAX gives work to threads on other cores, and takes "
            "up to 1.9 times as long in one process as in another; the column `one core` is from a process that has "
            "one, in CPU time, and repeats to 2%. The ratios of training steps are lower there, as JAX has no second "
            "core; those of tiny programs are higher, as JAX waits for no other thread. Floor is that ratio if each "
            "node took no longer than the start of one does, a sine of one number.",
            "",
            "| program | must | of JAX's time | quarters | | one core | floor | ms | nodes |",
            "| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |",
            *lines,
            "",
            *(["Why rows take longer, and what was tried instead:", "", *floors, ""] if floors else []),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
