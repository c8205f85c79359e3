"""The runner: a file of j2o, called as the function was called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnxruntime

from ._arrays import arguments, as_input, as_result
from ._batches import in_pieces
from ._errors import ArgumentError, FileError, RunError
from ._trees import SIGNATURE, Array, Signature, TreeError, build, read

if TYPE_CHECKING:
    from ._steps import Steps

_CPU = ("CPUExecutionProvider",)


class Runner:
    """A program that j2o exported, on ONNX Runtime.

    Arguments are NumPy arrays, numbers and trees of them, as the function took them: dictionaries, lists, tuples and
    `None` as they were; of named tuples and nodes of other classes, any object or mapping that has their fields. Such a
    result is a named tuple of the same name, or a `Record`. Random keys are their words, complex numbers are complex.
    Several threads may call one runner.

    Attributes:
        signature: the trees of arguments and results, state and constraints.
        session: the `onnxruntime.InferenceSession`.

    Args:
        model: path of the `.onnx` file, or its bytes.
        providers: execution providers of ONNX Runtime in the order in which they are tried.
        threads: threads within an operator; 0 for as many as there are cores.

    Raises:
        FileError: if the model cannot be read, is none of j2o, or ONNX Runtime refuses it, or has no such provider.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes, *, providers: Sequence[str] = _CPU, threads: int = 0):
        self._model = model if isinstance(model, bytes) else os.path.abspath(os.fspath(model))
        self._providers, self._threads = tuple(providers), threads
        where = "The model" if isinstance(self._model, bytes) else self._model
        known = onnxruntime.get_available_providers()
        if missing := [name for name in providers if name not in known]:
            raise FileError(f"This ONNX Runtime has no {', '.join(missing)}. It has {', '.join(known)}.")
        if isinstance(self._model, str) and not os.path.isfile(self._model):
            is_folder = os.path.isdir(self._model)
            raise FileError(
                f"{self._model} is a folder. Expected an .onnx file."
                if is_folder
                else f"There is no file {self._model}."
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(self._model, options, providers=list(providers))
        except Exception as error:
            raise FileError(f"{where} is refused by ONNX Runtime {onnxruntime.__version__}: {error}") from error
        try:
            self.signature = read(self.session.get_modelmeta().custom_metadata_map.get(SIGNATURE))
        except TreeError as error:
            raise FileError(f"{where} is no program that j2o-runtime can call. {error}") from error
        names = [value.name for value in (*self.session.get_inputs(), *self.session.get_outputs())]
        if names != [array.name for array in (*self.signature.inputs, *self.signature.outputs)]:
            raise FileError(f"{where} was changed after the export: its graph has other names than its signature.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program on the arguments of the function; the result has the structure of the function's.

        Raises:
            ArgumentError: if an argument has another structure, dtype or shape than the program takes, or sizes differ
                that have one name, or break a constraint.
            RunError: if ONNX Runtime fails.
        """
        return self.results(self.run(self.feed(args, kwargs)))

    async def call_async(self, *args: Any, **kwargs: Any) -> Any:
        """`__call__` in another thread, to be awaited; the arguments are read before this is first suspended."""
        import asyncio

        feed = self.feed(args, kwargs)
        return self.results(await asyncio.to_thread(self.run, feed))

    def map(self, *args: Any, batch: int, **kwargs: Any) -> Any:
        """Run the program on a large batch in pieces, and concatenate their results.

        The batch is the symbolic size that inputs have first. It must be the first size of all results, too, and appear
        nowhere else. That rows do not depend on each other is for the caller to know.

        Args:
            args: arguments of the function.
            batch: rows of a piece; the last piece has what is left.
            kwargs: arguments of the function by name.

        Raises:
            ArgumentError: if there is no such size, or an argument does not fit.
            RunError: if ONNX Runtime fails.
        """
        results = in_pieces(self.signature, self.feed(args, kwargs), batch, self._run_piece)
        rest = iter(results)
        return build(self.signature.results, lambda _: next(rest))

    def steps(self, **state: Any) -> Steps:
        """The program with state that is kept between calls.

        Args:
            state: the first values of all arguments that are state, by name.
        """
        from ._steps import Steps

        return Steps(self, state)

    def feed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the function as arrays by the names of the graph's inputs.

        Raises:
            ArgumentError: if one does not fit.
        """
        try:
            values = self.signature.flatten(args, kwargs)
        except TreeError as error:
            raise ArgumentError(str(error)) from error
        return arguments(self.signature.inputs, values, self.signature.constraints)

    def run(self, feed: Mapping[str, Any]) -> list[Any]:
        """The results of the runtime for arrays by name, in the order of the graph's outputs."""
        return self.run_values({name: as_input(array) for name, array in feed.items()})

    def run_values(self, feed: Mapping[str, Any]) -> list[Any]:
        """The results of the runtime for values of its own.

        Raises:
            RunError: if it fails.
        """
        try:
            found: list[Any] = self.session.run_with_ort_values(None, dict(feed))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(value.shape())}" for name, value in feed.items())
            raise RunError(f"ONNX Runtime failed on {shapes}: {error}") from error
        return found

    def results(self, values: Sequence[Any]) -> Any:
        """Results of the runtime as the function returned them."""
        rest = iter(values)
        return build(self.signature.results, lambda array: as_result(array, next(rest)))

    def _run_piece(self, feed: Mapping[str, Any]) -> list[Any]:
        return [as_result(array, value) for array, value in zip(self.signature.outputs, self.run(feed), strict=True)]

    def __reduce__(self) -> Any:
        return _runner, (self._model, self._providers, self._threads)

    def __repr__(self) -> str:
        def text(arrays: Sequence[Array]) -> str:
            return ", ".join(f"{array.name}: {array}" for array in arrays)

        signature: Signature = self.signature
        return f"<Runner {signature.function}({text(signature.inputs)}) -> {text(signature.outputs)}>"


def _runner(model: str | bytes, providers: Sequence[str], threads: int) -> Runner:
    return Runner(model, providers=providers, threads=threads)
