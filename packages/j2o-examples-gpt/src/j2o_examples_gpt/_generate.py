"""Greedy generation, token by token, with an explicit cache: by JAX, and by ONNX Runtime from the file alone."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import onnxruntime

from ._cache import empty_cache
from ._config import GptConfig
from ._model import Gpt


@dataclasses.dataclass(frozen=True)
class Generation:
    """The generated tokens and the time they took.

    Attributes:
        tokens: `[batch, count]` int32.
        logits: `[batch, count, vocabulary]` that they were the largest of.
        prefill_seconds: Time for the prompt.
        token_seconds: Median time of each token after the first.
    """

    tokens: np.ndarray
    logits: np.ndarray
    prefill_seconds: float
    token_seconds: float


def _generate(read: Callable[[np.ndarray], np.ndarray], prompt: np.ndarray, count: int) -> Generation:
    """Greedy tokens of a function that reads tokens and gives the logits of the next one."""
    new, tokens, logits, seconds = prompt, [], [], []
    for _ in range(count):
        start = time.perf_counter()
        logits.append(read(new))
        seconds.append(time.perf_counter() - start)
        new = logits[-1].argmax(axis=-1).astype(np.int32)[:, None]
        tokens.append(new)
    later = seconds[1:] or seconds
    return Generation(np.concatenate(tokens, axis=1), np.stack(logits, axis=1), seconds[0], float(np.median(later)))


def generate_in_jax(model: Gpt, config: GptConfig, prompt: np.ndarray, count: int) -> Generation:
    """Generate with the jitted model.

    Args:
        model: The model.
        config: Its hyperparameters.
        prompt: `[batch, tokens]` int32.
        count: Number of tokens to generate.
    """
    jitted: Any = eqx.filter_jit(model)
    capacity = prompt.shape[1] + count
    cache = empty_cache(config, len(prompt), capacity)
    for compiled in (prompt, prompt[:, :1]):
        jitted(compiled, cache)

    def read(tokens: np.ndarray) -> np.ndarray:
        nonlocal cache
        logits, cache = jitted(tokens, cache)
        return np.asarray(logits)

    return _generate(read, prompt, count)


class Decoder:
    """An exported model in ONNX Runtime.

    Args:
        path: The `.onnx` file.
        threads: Number of threads inside an operator; 0 leaves it to the runtime.
    """

    def __init__(self, path: Path, *, threads: int = 0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def empty_cache(self, batch: int, capacity: int) -> dict[str, Any]:
        """A cache before the first token, by the names of the graph's inputs, in the runtime's own memory."""
        sizes = {"B": batch, "C": capacity}
        arrays = {
            value.name: np.zeros(
                [sizes.get(size, size) for size in value.shape],
                np.int32 if value.type == "tensor(int32)" else np.float32,
            )
            for value in self._session.get_inputs()
            if value.name.startswith("cache.")
        }
        return {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}

    def read(self, tokens: np.ndarray, cache: dict[str, Any]) -> np.ndarray:
        """Read tokens: a prompt, or one token more.

        Args:
            tokens: `[batch, tokens]` int32.
            cache: What came before; what comes after takes its place.

        Returns:
            `[batch, vocabulary]` logits of the token that follows.
        """
        feed = {**cache, "tokens": onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tokens))}
        results = dict(zip(self._outputs, self._session.run_with_ort_values(self._outputs, feed), strict=True))
        logits: np.ndarray = results.pop("logits").numpy()
        cache.update({name.removeprefix("next."): value for name, value in results.items()})
        return logits

    def generate(self, prompt: np.ndarray, count: int) -> Generation:
        """Generate greedily.

        Args:
            prompt: `[batch, tokens]` int32.
            count: Number of tokens to generate.
        """
        capacity = prompt.shape[1] + count
        self.read(prompt, self.empty_cache(len(prompt), capacity))  # the runtime plans its memory
        cache = self.empty_cache(len(prompt), capacity)
        return _generate(lambda tokens: self.read(tokens, cache), prompt, count)
