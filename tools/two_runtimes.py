"""Models run by the installed ONNX Runtime, and by another release of it in a process of its own.

The other release lies in a folder into which `pip install --target FOLDER --no-deps onnxruntime==1.31.*` has put it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any


class Failed(Exception):
    """The runtime refused a model (`load`) or failed on its inputs (`run`)."""

    def __init__(self, stage: str, message: str):
        super().__init__(message)
        self.stage = stage


def run_here(path: str, inputs: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The results of the model in a file for each list of inputs; raises Failed."""
    import onnx_ir as ir

    from j2o_core.program._session import Session

    try:
        session = Session(ir.load(path), threads=1)
    except Exception as error:
        raise Failed("load", str(error)[:600]) from error
    try:
        return [session.run(arrays) for arrays in inputs]
    except Exception as error:
        raise Failed("run", str(error)[:600]) from error


class Here:
    """The installed release."""

    def __init__(self) -> None:
        self.release = release(metadata.version("onnxruntime"))

    run = staticmethod(run_here)


class Other:
    """Another release, from a folder. Its process is started anew where it died."""

    def __init__(self, folder: str):
        self._folder = folder
        self._start()

    def _start(self) -> None:
        command = [sys.executable, __file__, self._folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.release = release(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)

    def run(self, path: str, inputs: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """As `run_here`."""
        assert self._process.stdin is not None
        try:
            pickle.dump((path, inputs), self._process.stdin)
            self._process.stdin.flush()
            stage, answer = self._answer()
        except (EOFError, BrokenPipeError):
            code = self._process.wait()
            self._start()
            raise Failed("crash", f"the process of ONNX Runtime {self.release} ended with {code}") from None
        if stage:
            raise Failed(stage, answer)
        return answer  # type: ignore[no-any-return]


def installed(folder: str) -> str:
    """The release of ONNX Runtime in a folder."""
    (found,) = metadata.distributions(name="onnxruntime", path=[folder])
    return release(found.version)


def release(version: str) -> str:
    """Such as 1.32 for 1.32.0."""
    return ".".join(version.split(".")[:2])


def _serve(folder: str) -> None:
    sys.path.insert(0, folder)
    answers = os.fdopen(os.dup(1), "wb")  # the runtime may print
    os.dup2(2, 1)
    import onnxruntime

    if not onnxruntime.__file__.startswith(os.path.abspath(folder)):
        raise SystemExit(f"There is no onnxruntime in {folder}.")
    pickle.dump(onnxruntime.__version__, answers)
    answers.flush()
    while True:
        try:
            path, inputs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = "", run_here(path, inputs)
        except Failed as error:
            answer = error.stage, str(error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
