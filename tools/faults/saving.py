"""Faults of saving: savers that race, savers that are killed, and files that change after they are saved."""

import contextlib
import io
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

import j2o_core
from j2o_core.cli.__main__ import main as command
from j2o_core.program import _file_lock


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


def damaged_models(chance: random.Random, rounds: int) -> list[str]:
    """A bit of a weight flips, or a side file ends early: `j2o check` refuses, by the digest or by the size."""
    program = constant_product(1.0)
    weight = np.full((600, 600), 1.0, np.float32).tobytes()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for way in (None, "data", "safetensors"):
            (inside := Path(folder) / str(way)).mkdir()
            files[way] = program.save(inside / "m.onnx", weights=way)
        for number in range(rounds):
            way = chance.choice(list(files))
            path = Path(files[way][-1])
            content = path.read_bytes()
            begin = content.index(weight)
            place = begin + chance.randrange(len(weight))
            ends = chance.random() < 0.2
            with path.open("r+b") as file:
                if ends:
                    file.truncate(place)
                else:
                    file.seek(place)
                    file.write(bytes([content[place] ^ 1 << chance.randrange(8)]))
            if _check(files[way][0]) != 2:
                wrong.append(
                    f"damage {number}: byte {place} of {path.name} {'is the end' if ends else 'has another bit'}"
                )
            path.write_bytes(content)
        wrong += [f"{way}: refused without damage" for way in files if _check(files[way][0]) != 0]
    return wrong


def _check(path: str) -> int:
    """The exit status of `j2o check`."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            return command(["check", path])
        except SystemExit as stop:
            return int(stop.code or 0)
