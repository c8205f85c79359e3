"""Steps: a program whose state is kept by the runtime between calls."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import as_input, as_result, dtype_of
from ._errors import ArgumentError
from ._trees import Array, arrays, build

if TYPE_CHECKING:
    from ._runner import Runner


class Steps:
    """A program with state: what comes out as the next state goes in at the next call.

    Made by `Runner.steps`. The state is not copied to NumPy between calls. Calls of several threads follow each other.

    Attributes:
        state: the arguments that are state, as they are now, by name.
    """

    def __init__(self, runner: Runner, first: Mapping[str, Any]):
        signature = runner.signature
        paired = set(signature.state.values())
        self._held = {
            name: tree
            for name, tree in signature.arguments.items()
            if (inside := [array.name for array in arrays(tree)]) and paired.issuperset(inside)
        }
        if not self._held:
            raise ArgumentError(f"{signature.function} has no state: it was exported without state=[...].")
        if first.keys() != self._held.keys():
            raise ArgumentError(
                f"The state of {signature.function} is {', '.join(self._held)}: give the first value of each, and no "
                f"more; given are {', '.join(first) or 'none'}."
            )
        self._runner, self._lock = runner, threading.Lock()
        self._first: dict[str, Any] | None = dict(first)
        self._values: dict[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program on the arguments that are no state.

        Returns:
            What the function returns, with None in the places of the state's arrays.

        Raises:
            ArgumentError: if an argument does not fit, or is state.
            RunError: if ONNX Runtime fails; the state is then what it was before.
        """
        given, runner = self._free(args, kwargs), self._runner
        state = runner.signature.state
        with self._lock:
            feed = runner.feed((), {**given, **(self._first if self._first is not None else self._shapes())})
            if self._first is not None:  # a copy, since the runtime makes none
                self._values = {name: as_input(np.array(feed[name])) for name in state.values()}
            inputs = {name: as_input(array) for name, array in feed.items() if name not in self._values}
            results = dict(zip(runner.signature.outputs, runner.run_values({**inputs, **self._values}), strict=True))
            self._values = {state[array.name]: value for array, value in results.items() if array.name in state}
            self._first = None
        return build(
            runner.signature.results,
            lambda array: None if array.name in state else as_result(array, results[array]),
        )

    def _free(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name."""
        if held := sorted(self._held.keys() & kwargs.keys()):
            raise ArgumentError(f"The argument {held[0]!r} is state, which is kept.")
        names = [name for name in self._runner.signature.positional if name not in self._held]
        if len(args) > len(names):
            free = ", ".join(names) or "none"
            raise ArgumentError(f"{len(args)} arguments are given by position; those that are no state are {free}.")
        if twice := sorted(kwargs.keys() & {*names[: len(args)]}):
            raise ArgumentError(f"The argument {twice[0]!r} is given twice.")
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def _shapes(self) -> dict[str, Any]:
        """The state as arrays of its shapes, whose elements are not there: what comparing sizes needs."""

        def empty(array: Array) -> Any:
            return np.broadcast_to(np.zeros((), dtype_of(array.dtype)), self._values[array.name].shape())

        return {name: build(tree, empty) for name, tree in self._held.items()}

    @property
    def state(self) -> dict[str, Any]:
        """The arguments that are state, as they are now, by name."""
        if self._first is not None:
            return dict(self._first)
        return {
            name: build(tree, lambda array: as_result(array, self._values[array.name]))
            for name, tree in self._held.items()
        }
