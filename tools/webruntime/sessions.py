"""Sessions of onnxruntime-web that are called as those of the Python package onnxruntime are."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .runtimes import Web

# The names of JavaScript's API; its arrays have other element types.
NAMES = {
    np.dtype(name): name
    for bits in (8, 16, 32, 64)
    for name in (f"int{bits}", f"uint{bits}", *((f"float{bits}",) if bits > 8 else ("bool",)))
}
TYPES = {name: dtype for dtype, name in NAMES.items()}


class Named:
    """An input or an output."""

    def __init__(self, name: str):
        self.name = name


@dataclasses.dataclass
class Metadata:
    """The metadata of a file, which the npm package does not read."""

    custom_metadata_map: dict[str, str]


class Result:
    """An array with the methods of `OrtValue` that are needed."""

    def __init__(self, array: np.ndarray):
        self._array = array

    def numpy(self) -> np.ndarray:
        """The array."""
        return self._array

    def shape(self) -> list[int]:
        """Its shape."""
        return list(self._array.shape)


def session_class(web: Web) -> type:
    """A class to stand where `onnxruntime.InferenceSession` is; counts its sessions and runs as `made` and `ran`."""

    class WebSession:
        made = 0
        ran = 0

        def __init__(self, model: bytes | str | os.PathLike[str], options: Any = None, providers: Any = None):
            del options, providers
            self._model = model if isinstance(model, bytes) else pathlib.Path(model).read_bytes()
            self._load()
            WebSession.made += 1

        def _load(self) -> None:
            answer, _ = web.ask({"load": True}, [self._model])
            self._start, self._session = web.starts, answer["session"]
            self._inputs, self._outputs = answer["inputs"], answer["outputs"]

        def get_inputs(self) -> list[Named]:
            return [Named(name) for name in self._inputs]

        def get_outputs(self) -> list[Named]:
            return [Named(name) for name in self._outputs]

        def get_modelmeta(self) -> Metadata:
            model = onnx.load_model_from_string(self._model)
            return Metadata({entry.key: entry.value for entry in model.metadata_props})

        def run(self, names: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            arrays = {name: np.asarray(value, order="C") for name, value in feed.items()}
            feeds = [
                {"name": name, "type": NAMES[one.dtype], "dims": list(one.shape), "bytes": one.nbytes}
                for name, one in arrays.items()
            ]
            if self._start != web.starts:
                self._load()  # another model ended the process
            answer, content = web.ask(
                {"run": self._session, "feeds": feeds}, [one.tobytes() for one in arrays.values()]
            )
            ends = itertools.accumulate((result["bytes"] for result in answer["results"]), initial=0)
            results = {
                result["name"]: np.frombuffer(content[begin:end], TYPES[result["type"]]).reshape(result["dims"])
                for result, (begin, end) in zip(answer["results"], itertools.pairwise(ends), strict=True)
            }
            WebSession.ran += 1
            return [results[name] for name in names or self._outputs]

        def run_with_ort_values(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[Result]:
            return [Result(one) for one in self.run(names, {name: value.numpy() for name, value in feed.items()})]

        def __del__(self) -> None:
            if getattr(self, "_start", None) == web.starts:
                try:
                    web.ask({"release": self._session})
                except RuntimeError:
                    return

    return WebSession
