"""Faults on purpose: savers that race, processes that are killed, interrupts, damaged checkpoints, large programs.

`nox -s faults` runs all of it in about ten minutes; `nox -s faults -- --share 0.01 --seed 7` a hundredth of it. Each
trial prints its seed and what it found; the exit status says whether anything was wrong.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import onnxruntime
from jax import lax

import j2o_core
from j2o_core.program import _file_lock
from j2o_core.trace import _capture

warnings.filterwarnings("ignore", message=r"os\.fork\(\)|.*multi-threaded.*")


def constant_product(number: float) -> j2o_core.OnnxProgram:
    """A program whose only weight, and so whose result, tells it from others."""
    weight = np.full((600, 600), number, np.float32)
    return j2o_core.to_onnx(lambda x: x @ weight, [("B", 600)])


def run(path: Path) -> float:
    """The results of the model at a path for inputs of ones."""
    session = onnxruntime.InferenceSession(str(path))
    (result,) = session.run(None, {session.get_inputs()[0].name: np.ones((1, 600), np.float32)})
    return float(result[0, 0])


def forked(work: Callable[[], object]) -> int:
    """The process that does some work."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return process


def two_savers(chance: random.Random, rounds: int) -> list[str]:
    """Two processes save to one path at once, with locks and without: the last one wins, whole."""
    programs = [constant_product(1.0), constant_product(2.0)]
    results = {run_of(program) for program in programs}
    wrong = []
    lock = _file_lock._lock
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.onnx"
            ways = [chance.choice(["data", "data", "safetensors", None]) for _ in programs]
            waits = [chance.random() * 0.01 for _ in programs]
            _file_lock._lock = _no_locks if number % 4 == 3 else lock

            def save(program: object, way: str | None, wait: float, path: Path = path) -> None:
                time.sleep(wait)
                program.save(path, weights=way)

            savers = [
                forked(lambda p=p, way=way, wait=wait: save(p, way, wait))
                for p, way, wait in zip(programs, ways, waits, strict=True)
            ]
            failed = [saver for saver in savers if os.waitpid(saver, 0)[1]]
            try:
                whole = run(path) in results
            except Exception as error:  # noqa: BLE001 - whatever the runtime says
                whole, failed = False, [*failed, error]
            if failed or not whole:
                wrong.append(f"round {number}, {ways}: {failed}")
    _file_lock._lock = lock
    return wrong


def _no_locks(file: object) -> None:
    raise OSError("no locks")


def run_of(program: j2o_core.OnnxProgram) -> float:
    """The same, of a program in memory."""
    return float(program(np.ones((1, 600), np.float32))[0, 0])


def killed_savers(chance: random.Random, rounds: int) -> list[str]:
    """A saver is killed at a random moment: the model is whole, and the next save clears what was left."""
    old, new = constant_product(1.0), constant_product(2.0)
    results = {run_of(program) for program in (old, new)}
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        old.save(path, weights="data")
        for number in range(rounds):
            saver = forked(lambda: [new.save(path, weights=way) for way in ("data", None, "safetensors") * 9])
            time.sleep(chance.random() * 0.1)
            os.kill(saver, signal.SIGKILL)
            os.waitpid(saver, 0)
            if run(path) not in results:
                wrong.append(f"kill {number}: the model is not whole")
            old.save(path, weights=(way := chance.choice(["data", "safetensors", None])))
            left = sorted(os.listdir(folder))
            if run(path) != run_of(old) or len(left) != (1 if way is None else 2):
                wrong.append(f"kill {number}: {left} left")
    return wrong


def interrupts(chance: random.Random, rounds: int) -> list[str]:
    """An export is interrupted at a random time: every function is the same object, later exports the same bytes."""

    def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jax.nn.gelu(jax.nn.dot_product_attention(q, k, v))

    def exported() -> bytes:
        model = j2o_core.to_onnx(attention, [(1, 4, 2, 8)] * 3).model
        return ir.serde.serialize_model(model).SerializeToString(deterministic=True)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = ["gelu", "dot_product_attention", "softmax", "relu", "silu"]
    functions = [getattr(jax.nn, name) for name in names]
    wanted = exported()
    begin = time.monotonic()
    exported()
    usual = time.monotonic() - begin
    handler = signal.signal(signal.SIGALRM, interrupt)
    wrong, hit = [], 0
    for number in range(rounds):
        try:
            signal.setitimer(signal.ITIMER_REAL, max(1e-4, chance.random() * usual))
            try:
                exported()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            hit += 1
        except Exception as error:  # noqa: BLE001 - raised out of an interrupted callback
            hit += 1
            del error
        same = all(one is getattr(jax.nn, name) for one, name in zip(functions, names, strict=True))
        if not same or _capture._installed:
            wrong.append(f"interrupt {number}: functions stay replaced")
        if number % 10 == 0 and exported() != wanted:
            wrong.append(f"interrupt {number}: a later export has other bytes")
    signal.signal(signal.SIGALRM, handler)
    print(f"  {hit} of {rounds} exports were interrupted")
    return wrong


def damaged_checkpoints(chance: random.Random, rounds: int) -> list[str]:
    """Checkpoints with bytes changed, left out, doubled or cut off: a CheckpointError that names the file."""
    from j2o_examples_dino import CheckpointError, DinoConfig, build, load, save, state_dict

    config = DinoConfig(dim=16, depth=1, heads=2, patch_size=4)
    wrong, refused = [], 0
    with tempfile.TemporaryDirectory() as folder:
        model = build(config, key=jax.random.key(0))
        paths = [Path(folder) / f"a.{suffix}" for suffix in ("safetensors", "eqx", "tar.lz4", "npz")]
        for path in paths[:-1]:
            save(path, model)
        np.savez(paths[-1], **state_dict(model))
        contents = {path: path.read_bytes() for path in paths}
        for number in range(rounds):
            path = chance.choice(paths)
            content = bytearray(contents[path])
            place = chance.randrange(len(content)) if chance.random() < 0.5 else chance.randrange(600)
            kind = chance.randrange(4)
            if kind == 0:
                del content[place:]
            elif kind == 1:
                content[place] ^= 1 << chance.randrange(8)
            elif kind == 2:
                del content[place : place + chance.randrange(1, 200)]
            else:
                content[place:place] = chance.randbytes(chance.randrange(1, 200))
            path.write_bytes(content)
            try:
                load(path, config)
            except CheckpointError as error:
                refused += 1
                if str(path) not in str(error):
                    wrong.append(f"damage {number}: {error} does not name {path.name}")
            except BaseException as error:  # noqa: BLE001 - that is what is looked for
                wrong.append(f"damage {number} of {path.name}: {type(error).__name__}: {error}")
    print(f"  {refused} of {rounds} damaged files were refused, the others load")
    return wrong


def large_programs(chance: random.Random, rounds: int) -> list[str]:
    """Twice the equations take about twice the time, nested scans no more nodes than are unrolled."""
    del chance

    def chain(count: int) -> Callable[[jax.Array], jax.Array]:
        def fn(x: jax.Array) -> jax.Array:
            for _ in range(count // 2):
                x = jnp.sin(x) + 1
            return x

        return fn

    wrong, times = [], []
    for count in (1000, rounds * 10, rounds * 20):
        begin = time.monotonic()
        j2o_core.to_onnx(chain(count), [(3,)])
        times.append(time.monotonic() - begin)
        print(f"  {count} equations: {times[-1]:.1f} s")
    if times[2] > 3.5 * times[1]:
        wrong.append(f"twice the equations took {times[2] / times[1]:.1f} times as long")
    fn: Callable[[jax.Array], jax.Array] = lambda x: x * 0.5 + 1  # noqa: E731
    for _ in range(16):
        fn = (lambda inner: lambda x: lax.scan(lambda c, _: (inner(c), None), x, None, length=2)[0])(fn)
    nodes = len(list(j2o_core.to_onnx(fn, [(3,)]).model.graph.all_nodes()))
    if nodes > 200:
        wrong.append(f"16 nested scans made {nodes} nodes")
    return wrong


# The trials, and how often each is run in all.
TRIALS: dict[Callable[[random.Random, int], list[str]], int] = {
    two_savers: 1000,
    killed_savers: 180,
    interrupts: 500,
    damaged_checkpoints: 5000,
    large_programs: 2500,
}


def main() -> int:
    """Run the trials; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of all rounds")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    parser.add_argument("--only", choices=[trial.__name__ for trial in TRIALS])
    options = parser.parse_args()
    count = 0
    for trial, rounds in TRIALS.items():
        if options.only not in (None, trial.__name__):
            continue
        rounds = max(3, round(rounds * options.share))
        print(f"{trial.__name__}: {rounds} rounds, seed {options.seed}", flush=True)
        begin = time.monotonic()
        wrong = trial(random.Random(f"{trial.__name__} {options.seed}"), rounds)
        print(f"  {len(wrong)} wrong, {time.monotonic() - begin:.0f} s", *wrong[:5], sep="\n  ", flush=True)
        count += len(wrong)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
